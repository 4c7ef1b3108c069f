//! `sterna host` and `sterna certs`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::run::{tls_dir_arg, token_file_arg};

/// What `sterna host` was told.
pub struct HostCommand {
    /// Where to listen; `None` serves the run that has started it.
    pub listen: Option<String>,
    /// A file with the secret that pilots have to know.
    pub token_file: Option<PathBuf>,
    /// Certificates.
    pub tls_directory: Option<PathBuf>,
    /// Where the wire is that several migrations of one run share.
    pub shared_link: Option<PathBuf>,
}

/// What `sterna certs` was told.
pub struct CertsCommand {
    /// Where the files go.
    pub directory: PathBuf,
    /// Names and addresses of the machines that listen.
    pub names: Vec<String>,
    /// How long they are valid.
    pub days: u32,
}

/// `sterna host`.
pub fn command() -> Command {
    Command::new("host")
        .about("Be one side of a migration, for runs that are started on other machines")
        .long_about(
            "Be one side of a migration, for runs that are started on other machines.\n\n\
             `sterna run --destination sterna://ADDRESS`, or --source, goes there. \
             One run after another is served; each gets a process of its own, whose memory is gone with it. \
             The address to give to `sterna run` is printed on standard output, and everything else on standard error. \
             It listens until it is interrupted or terminated.\n\n\
             What other machines can reach takes certificates and a token; see `sterna certs`. \
             A token comes from --token-file or STERNA_HOST_TOKEN, never from the command line, which everybody on the machine can read. \
             Without either, one is made and printed; a loopback address, or a Unix socket, needs none.",
        )
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS")
                .help("Where to listen: HOST:PORT, PORT on loopback alone, or the PATH of a Unix socket; port 0 takes any [default: the run that has started this command]"),
        )
        .arg(token_file_arg().help("A file that holds the secret which runs have to know"))
        .arg(tls_dir_arg().help("Certificates, as `sterna certs` makes them; connections are then encrypted"))
        .arg(
            Arg::new("shared-link")
                .long("shared-link")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with("listen")
                .hide(true)
                .help("The emulated link that migrations of one run share"),
        )
}

/// `sterna certs`.
pub fn certs_command() -> Command {
    Command::new("certs")
        .about("Make certificates for encrypted migrations between machines")
        .long_about(
            "Make certificates for encrypted migrations between machines: an authority of your own, and a certificate for each end of a connection.\n\n\
             Copy the directory, without ca-key.pem, to every machine that takes part, and give it to `sterna host` and `sterna run` as --tls-dir. \
             The files have the names that QEMU reads, too. Keys can be read by their owner alone; nothing is overwritten.",
        )
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Where the files go; it is created when it is not there"),
        )
        .arg(
            Arg::new("host")
                .long("host")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("A name or an address by which a listening machine is reached, as it stands in sterna://NAME:PORT; may be given several times. localhost is always there"),
        )
        .arg(
            Arg::new("days")
                .long("days")
                .value_name("NUMBER")
                .value_parser(value_parser!(u32).range(1..=36_500))
                .default_value("825")
                .help("How long they are valid"),
        )
}

/// What was given to `sterna host`.
pub fn options(matches: &ArgMatches) -> HostCommand {
    HostCommand {
        listen: matches.get_one::<String>("listen").cloned(),
        token_file: matches.get_one::<PathBuf>("token-file").cloned(),
        tls_directory: matches.get_one::<PathBuf>("tls-dir").cloned(),
        shared_link: matches.get_one::<PathBuf>("shared-link").cloned(),
    }
}

/// What was given to `sterna certs`.
pub fn certs_options(matches: &ArgMatches) -> CertsCommand {
    CertsCommand {
        directory: matches.get_one::<PathBuf>("directory").cloned().unwrap_or_default(),
        names: matches.get_many::<String>("host").into_iter().flatten().cloned().collect(),
        days: matches.get_one::<u32>("days").copied().unwrap_or(825),
    }
}
