//! The flags of `sterna run` that name other machines.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use sterna_remote::{Address, Ssh};

use super::run::token_file_arg;

/// Where both sides run, and how ssh is called.
#[derive(Clone, Debug, Default)]
pub struct Machines {
    /// Where the guest runs first; `None` is this machine.
    pub source: Option<Address>,
    /// Where it goes; `None` is this machine.
    pub destination: Option<Address>,
    /// How ssh is called.
    pub ssh: Ssh,
    /// Where the destination listens for the guest's memory: an address of its machine, or the name of an interface there.
    pub address: Option<String>,
    /// A file with the secret of hosts that listen.
    pub token_file: Option<PathBuf>,
}

/// The flags.
pub fn args() -> Vec<Arg> {
    let address = |name: &'static str| {
        Arg::new(name).long(name).value_name("ADDRESS").value_parser(str::parse::<Address>)
    };
    let args = [
        address("source").help("Where the guest runs first [default: here]").long_help(
            "Where the guest runs first. As ssh://user@host or ssh://user@host:port it is started there by ssh, with a copy of this program that is removed afterwards; as sterna://host:port (or sterna:///path of a Unix socket) it is served by a `sterna host --listen` [default: here]",
        ),
        address("destination").help("Where the guest goes [default: here]").long_help(
            "Where the guest goes. As ssh://user@host or ssh://user@host:port it is started there by ssh, with a copy of this program that is removed afterwards; as sterna://host:port (or sterna:///path of a Unix socket) it is served by a `sterna host --listen`. The guest's memory travels directly from machine to machine, not through ssh [default: here]",
        ),
        Arg::new("migration-address")
            .long("migration-address")
            .value_name("IP")
            .value_parser(data_address)
            .help("Where the destination listens for the guest's memory: an address of its machine, or on the emulator an interface there [default: the address by which the run comes in]"),
        token_file_arg()
            .help("A file that holds the secret of the `sterna host` at sterna:// [default: STERNA_HOST_TOKEN]"),
        Arg::new("ssh-option")
            .long("ssh-option")
            .value_name("NAME=VALUE")
            .action(ArgAction::Append)
            .help("An option for ssh, as for `ssh -o`; may be given several times"),
        Arg::new("ssh-config")
            .long("ssh-config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("The configuration for ssh, as for `ssh -F` [default: the user's]"),
    ];
    args.into_iter().map(|it| it.help_heading("Other machines")).collect()
}

/// What was given.
pub fn options(matches: &ArgMatches) -> Machines {
    let address = |id: &str| matches.get_one::<Address>(id).cloned();
    let options = matches.get_many::<String>("ssh-option").into_iter().flatten();
    Machines {
        source: address("source"),
        destination: address("destination"),
        ssh: Ssh {
            config: matches.get_one::<PathBuf>("ssh-config").cloned(),
            options: options.cloned().collect(),
            ..Ssh::default()
        },
        address: matches.get_one::<String>("migration-address").cloned(),
        token_file: matches.get_one::<PathBuf>("token-file").cloned(),
    }
}

/// A name could mean another address there than here, but an interface is the machine's own affair, as a zone is.
fn data_address(text: &str) -> Result<String, String> {
    let address = text.split('%').next().unwrap_or_default();
    let is_interface = (1..16).contains(&text.len()) && !text.contains([':', '/', '.', '%', ' ']);
    match address.parse::<std::net::IpAddr>() {
        Err(_) if !is_interface => {
            Err("it must be an IP address, such as 10.0.0.2 or fd00::2, or an interface".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}
