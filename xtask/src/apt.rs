//! Debian packages from lists of our own: what the chores fetch is unpacked in a cache, and the machine's sources and
//! packages stay as they are. No privilege is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::process::succeed;

/// A place in the user's cache that outlives the tree.
pub fn cache(name: &str) -> Result<PathBuf> {
    let usual = || Some(Path::new(&std::env::var_os("HOME")?).join(".cache"));
    let place = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(usual);
    Ok(place.context("Neither XDG_CACHE_HOME nor HOME is set")?.join("sterna").join(name))
}

/// Lists and archives in a directory.
pub struct Apt {
    directory: PathBuf,
    /// Whether packages that are installed count as there.
    knows_installed: bool,
}

impl Apt {
    /// With these lines of sources; `knows_installed` leaves out what the machine has.
    pub fn new(directory: &Path, sources: &str, knows_installed: bool) -> Result<Apt> {
        fs::create_dir_all(directory.join("cache/archives/partial"))?;
        fs::create_dir_all(directory.join("lists/partial"))?;
        fs::write(directory.join("sources.list"), sources)?;
        let apt = Apt { directory: directory.to_owned(), knows_installed };
        succeed(apt.get().arg("update"))?;
        Ok(apt)
    }

    /// Where packages are put.
    pub fn archives(&self) -> PathBuf {
        self.directory.join("cache/archives")
    }

    /// Every package that was fetched.
    pub fn packages(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.archives())?.filter_map(|it| Some(it.ok()?.path()));
        Ok(entries.filter(|it| it.extension().is_some_and(|it| it == "deb")).collect())
    }

    /// Unpacks all of them.
    pub fn unpack(&self, root: &Path) -> Result<()> {
        for package in self.packages()? {
            succeed(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
        }
        Ok(())
    }

    /// Fetches exactly these, without what they need.
    pub fn download<'a>(&self, packages: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut command = self.get();
        command.arg("download").args(packages).current_dir(self.archives());
        succeed(&mut command)
    }

    /// `apt-get` with lists and archives of its own.
    pub fn get(&self) -> Command {
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        let mut command = Command::new("apt-get");
        let mut options = vec![
            option("Dir::Etc::sourcelist", &self.directory.join("sources.list")),
            option("Dir::Etc::sourceparts", Path::new("/dev/null")),
            option("Dir::State::lists", &self.directory.join("lists")),
            option("Dir::Cache", &self.directory.join("cache")),
            "Debug::NoLocking=1".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::http::Timeout=20".to_owned(),
        ];
        if !self.knows_installed {
            options.push(option("Dir::State::status", Path::new("/dev/null")));
        }
        for word in options {
            command.arg("-o").arg(word);
        }
        // What is printed there is for people; the result of a chore is a path.
        command.arg("-qq").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// Where Debian's packages come from on this machine.
pub struct Mirror {
    site: String,
    /// The release's name.
    pub release: String,
    key: String,
}

impl Mirror {
    /// The mirror that this machine uses, its release, and how the mirror is trusted.
    pub fn of_this_machine() -> Result<Mirror> {
        let format = "$(SITE) $(CODENAME) $(COMPONENT) $(SIGNED_BY)";
        let mut command = Command::new("apt-get");
        let command = command.args(["indextargets", "--format", format, "Created-By: Packages"]);
        let output =
            command.output().context("There is no apt-get; this is fetched on Debian only")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let signed = || format!("[signed-by={key}] ");
        let key = if Path::new(key).exists() { signed() } else { String::new() };
        let found = text.lines().find_map(release);
        let (site, release) = found.context("apt has no source of Debian's main packages")?;
        Ok(Mirror { site, release, key })
    }

    /// One line of a list of sources; `kind` is `deb` or `deb-src`.
    pub fn line(&self, kind: &str, suite: &str) -> String {
        format!("{kind} {}{} {suite} main\n", self.key, self.site)
    }
}

/// Mirror and release from one line, if it is the release itself and not its updates.
fn release(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [site, release, "main", ..] if !release.contains('-') && site.contains("debian") => {
            Some((site.to_owned(), release.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_itself_is_chosen() {
        let of = |line: &str| release(line).map(|it| it.1);
        assert_eq!(
            of("http://mirror/debian bookworm main $(SIGNED_BY)").as_deref(),
            Some("bookworm")
        );
        assert_eq!(of("http://mirror/debian bookworm-updates main"), None);
        assert_eq!(of("http://other/repo nodistro main"), None);
        assert_eq!(of(""), None);
    }
}
