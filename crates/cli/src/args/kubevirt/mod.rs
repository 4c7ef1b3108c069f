//! The command line of `sterna kubevirt`.

mod workload;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches as _, Subcommand, ValueEnum};
use sterna_units::Span;

pub use workload::WorkloadArgs;

/// What `sterna kubevirt` is asked for.
#[derive(Clone, Debug, Args)]
pub struct KubevirtCommand {
    /// The cluster.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// What to do there.
    #[command(subcommand)]
    pub task: Task,
}

/// Which cluster and where, as kubectl is told it.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// The kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or a Pod's own account]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it [default: its current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace [default: the context's]
    #[arg(long, short = 'n', global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Calls to the API server a second, at most
    #[arg(long, global = true, value_name = "N", default_value_t = 50.0)]
    pub qps: f64,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Task {
    /// Print the workload `migration-stress` as Kubernetes objects; asks no cluster
    Manifests(ManifestsArgs),
    /// Look whether a command can work on this cluster: KubeVirt, permissions, nodes, limits
    Preflight(PreflightArgs),
    /// Create the workload and wait until every guest answers
    Apply(ApplyArgs),
    /// Migrate guests, and write a report of each migration
    Migrate(MigrateArgs),
    /// Show migrations as they happen, whoever wanted them
    Watch(WatchArgs),
    /// Empty a node of its guests and record every migration; the node is uncordoned at the end
    Drain(DrainArgs),
    /// Show what the reports of `migrate` and `drain` hold
    Report(ReportArgs),
    /// Remove what Sterna created, and nothing else
    Cleanup(CleanupArgs),
    /// Say which MigrationPolicy wins for a virtual machine, and what will happen because of it
    Explain(ExplainArgs),
    /// Print the least roles that a command needs
    Rbac(RbacArgs),
    /// Print a Grafana dashboard or Prometheus rules
    Dashboard(DashboardArgs),
    /// Act as KubeVirt's controllers on an API server that has its kinds but no KubeVirt
    Demo(DemoArgs),
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ObjectFormat {
    /// For people and kubectl.
    #[default]
    Yaml,
    /// A list for programs.
    Json,
    /// Kind and name of each.
    Name,
}

/// Text for people or JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What a dry run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// No dry run.
    #[default]
    None,
    /// Print what would be sent; ask nothing.
    Client,
    /// Let the API server check it, and change nothing.
    Server,
}

/// `manifests`.
#[derive(Clone, Debug, Args)]
pub struct ManifestsArgs {
    /// The workload.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// How objects are printed
    #[arg(long, short, value_name = "FORMAT", default_value = "yaml")]
    pub output: ObjectFormat,
}

/// `preflight`.
#[derive(Clone, Debug, Args)]
pub struct PreflightArgs {
    /// For this command
    #[arg(value_name = "COMMAND", default_value = "apply", value_parser = command_names())]
    pub command: String,
    /// How findings are printed
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    pub output: TextFormat,
}

/// `apply`.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// The workload.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// Do not wait until guests answer
    #[arg(long)]
    pub no_wait: bool,
    /// How long guests may take until they answer
    #[arg(long, value_name = "TIME", default_value = "10min")]
    pub timeout: Span,
    /// Change nothing: print what would be sent (client), or let the API server check it (server)
    #[arg(long, value_name = "HOW", default_value = "none")]
    pub dry_run: DryRun,
    /// How objects are printed
    #[arg(long, short, value_name = "FORMAT", default_value = "name")]
    pub output: ObjectFormat,
}

/// `migrate`.
#[derive(Clone, Debug, Args)]
pub struct MigrateArgs {
    /// These guests [default: all of the run]
    #[arg(value_name = "GUEST")]
    pub guests: Vec<String>,
    /// The run whose guests are migrated [default: all runs of Sterna]
    #[arg(long, value_name = "ID")]
    pub run_id: Option<String>,
    /// How often each guest is migrated
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Guests that are migrated at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub at_once: u32,
    /// Abort a migration that takes longer
    #[arg(long, value_name = "TIME")]
    pub max_time: Option<Span>,
    /// What guests with Sterna's agent are asked for, by way of the API server
    #[arg(long, value_name = "WHAT", default_value = "all")]
    pub guest: GuestTells,
    /// How long such a guest is watched before its migration, and after it
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub warmup: Span,
    /// Ask Prometheus or Thanos at this address for KubeVirt's metrics of each migration
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<String>,
    /// The file with its bearer token
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    pub prometheus_token_file: Option<PathBuf>,
    /// Where the reports go; it is made when it is not there
    #[arg(long, value_name = "DIR", default_value = "sterna-kubevirt")]
    pub records: PathBuf,
}

/// What guests are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GuestTells {
    /// Its progress, a check of its memory after the migration, and records on its data disk if it has one.
    #[default]
    All,
    /// Its progress.
    Progress,
    /// Nothing.
    None,
}

/// `watch`.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    /// In all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// Print what is there now, and end
    #[arg(long)]
    pub once: bool,
    /// End after this time
    #[arg(long = "for", value_name = "TIME")]
    pub length: Option<Span>,
    /// Serve the same as OpenMetrics on this port; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub metrics_port: Option<u16>,
    /// Where metrics are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub metrics_address: std::net::IpAddr,
}

/// `drain`.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: String,
    /// How long it may take
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub timeout: Span,
    /// Where the reports go
    #[arg(long, value_name = "DIR", default_value = "sterna-kubevirt")]
    pub records: PathBuf,
    /// Leave the node cordoned when it is empty
    #[arg(long)]
    pub keep_cordoned: bool,
    /// Say which guests would be evicted, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Reports, or directories of them
    #[arg(value_name = "FILE|DIR", required = true)]
    pub paths: Vec<PathBuf>,
    /// How they are printed
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    pub output: TextFormat,
}

/// `cleanup`.
#[derive(Clone, Debug, Args)]
pub struct CleanupArgs {
    /// Only of this run
    #[arg(long, value_name = "ID", required_unless_present = "all")]
    pub run_id: Option<String>,
    /// Of every run of Sterna in the namespace
    #[arg(long, conflicts_with = "run_id")]
    pub all: bool,
    /// How long objects may take to be gone
    #[arg(long, value_name = "TIME", default_value = "5min")]
    pub timeout: Span,
    /// Print what would be removed (client), or let the API server check it (server)
    #[arg(long, value_name = "HOW", default_value = "none")]
    pub dry_run: DryRun,
}

/// `explain`.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The virtual machine
    #[arg(value_name = "VM")]
    pub vm: String,
    /// How it is printed
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    pub output: TextFormat,
}

/// `rbac`.
#[derive(Clone, Debug, Args)]
pub struct RbacArgs {
    /// The command
    #[arg(value_name = "COMMAND", value_parser = command_names())]
    pub command: String,
    /// The service account that gets the roles
    #[arg(long, value_name = "NAME", default_value = "sterna")]
    pub service_account: String,
    /// How objects are printed
    #[arg(long, short, value_name = "FORMAT", default_value = "yaml")]
    pub output: ObjectFormat,
}

/// `dashboard`.
#[derive(Clone, Debug, Args)]
pub struct DashboardArgs {
    /// What to print
    #[arg(value_name = "WHAT")]
    pub what: Dashboard,
}

/// What can be shown elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dashboard {
    /// A dashboard, as JSON.
    Grafana,
    /// A PrometheusRule, as YAML.
    Rules,
}

/// `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Nodes to pretend
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub nodes: u32,
    /// Simulated seconds in a real one
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub speed: f64,
    /// How fast memory moves
    #[arg(long, value_name = "RATE", default_value = "1GB/s")]
    pub bandwidth: sterna_units::Rate,
    /// How fast guests dirty theirs
    #[arg(long, value_name = "RATE", default_value = "200MB/s")]
    pub dirty_rate: sterna_units::Rate,
    /// Make migrations fail
    #[arg(long, value_name = "HOW")]
    pub fail: Option<DemoFailure>,
}

/// How simulated migrations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoFailure {
    /// virt-api refuses them.
    Reject,
    /// No node takes the target Pod.
    Unschedulable,
    /// virt-handler gives up while memory moves.
    Break,
    /// Guests cannot be migrated live.
    NotMigratable,
}

fn command_names() -> Vec<&'static str> {
    sterna_kubevirt::rbac::Command::ALL.into_iter().map(|it| it.name()).collect()
}

/// The subcommand.
pub fn command() -> Command {
    KubevirtCommand::augment_args(
        Command::new("kubevirt")
            .about("Hard migrations on a KubeVirt cluster: the workload, the migrations, a report of each")
            .after_help(
                "Run it as `kubectl sterna` too: a link named kubectl-sterna to this program is a plug-in.\n\n\
                 Exit codes: 0 all migrations completed; 1 tool error; 2 usage; 3 a migration was cancelled, failed or lost; \
                 5 the cluster cannot do it; 130 interrupted, reports written.",
            ),
    )
    .about("Hard migrations on a KubeVirt cluster: the workload, the migrations, a report of each")
    .subcommand_required(true)
    .arg_required_else_help(true)
}

/// The options.
pub fn options(matches: &ArgMatches) -> KubevirtCommand {
    KubevirtCommand::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
}

/// The flags that name a cluster, for `sterna run --engine kubevirt`.
pub fn with_place(command: Command) -> Command {
    let heading = "Cluster (engine KubeVirt)";
    place_args().into_iter().fold(command, |command, it| command.arg(it.help_heading(heading)))
}

/// The flags that name a cluster.
pub fn place_args() -> Vec<clap::Arg> {
    let place = PlaceArgs::augment_args(Command::new("place"));
    let ours = |it: &&clap::Arg| !["help", "version"].contains(&it.get_id().as_str());
    place.get_arguments().filter(ours).cloned().collect()
}

/// What they say.
pub fn place(matches: &ArgMatches) -> PlaceArgs {
    PlaceArgs::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
}

/// A span as the standard library has it.
pub fn duration(span: Span) -> Duration {
    Duration::from_secs_f64(span.seconds())
}
