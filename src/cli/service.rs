//! `vend service`: the systemd user unit, with as little as the shop needs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::exit::{Exit, Outcome, print, say};
use super::{Global, settings};
use crate::config::atomic;
use crate::config::place::Places;
use crate::identity;

/// The first line of what is written: a file without it is somebody else's.
const MARK: &str = "# Written by `vend service install`.";
/// What is left for orderly work after the longest job, seconds.
const AFTER_JOB: u64 = 30;

/// `vend service`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum What {
    /// Write it where systemd looks for the units of this user, and say what to do next
    Install,
}

/// Prints the unit, or installs it.
pub fn main(global: &Global, args: Args) -> Outcome {
    let places = global.places()?;
    let settings = settings::load(&places.config)?;
    let program = std::env::current_exe().map_err(|error| Exit::failed(&error))?;
    let passphrase = identity::needs_passphrase(&places.identity()).unwrap_or(false);
    let stop = settings.limits.job_timeout_secs.saturating_add(AFTER_JOB);
    let unit = unit(&program, &places, passphrase, stop);
    match args.what {
        None => print(unit.as_bytes()),
        Some(What::Install) => install(&unit, passphrase),
    }
}

/// A word of a command line, or a path in a list of them, as systemd reads it back.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('%', "%%").replace('$', "$$"))
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn unit(program: &Path, places: &Places, passphrase: bool, stop: u64) -> String {
    let (data, config) = (path(&places.data), path(&places.config));
    let program = path(program);
    let secret = path(&places.config_dir().join("passphrase")).replace('"', "");
    // Only a key under a passphrase needs it, and a credential that is named and missing keeps the unit from starting.
    let off = if passphrase { "" } else { "#" };
    format!(
        "{MARK}
[Unit]
Description=vend: sells the work of a local language model on Nostr
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
ExecStart={program} --config {config} --data-dir {data} run
Restart=on-failure
RestartSec=5
# Wrong usage, wrong settings, another vend on the data directory: a new start would end the same way.
RestartPreventExitStatus=2 3 4
# The running job ends first, within limits.job_timeout_secs.
TimeoutStopSec={stop}
# The identity's passphrase, where the key is under one: a file of mode 0600 that holds nothing else.
{off}LoadCredential=passphrase:{secret}
{off}Environment=VEND_PASSPHRASE_FILE=%d/passphrase

# It writes into its data directory alone. A backup folder elsewhere needs a line of its own here.
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths=-{data}
PrivateTmp=yes
# The graphics card's load is not seen through this; take the line out to have it on the screen.
PrivateDevices=yes
PrivateUsers=yes
UMask=0077
LimitCORE=0
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
KeyringMode=private
LockPersonality=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
# Not MemoryDenyWriteExecute: the Spark helper runs on Node, which makes code as it goes.

[Install]
WantedBy=default.target
"
    )
}

/// Where systemd looks for the units of this user.
fn folder() -> Result<PathBuf, Exit> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match (set("XDG_CONFIG_HOME"), set("HOME")) {
        (Some(base), _) => PathBuf::from(base),
        (None, Some(home)) => PathBuf::from(home).join(".config"),
        (None, None) => return Err(Exit::failed(&"neither HOME nor XDG_CONFIG_HOME is set")),
    };
    Ok(base.join("systemd/user"))
}

fn install(unit: &str, passphrase: bool) -> Outcome {
    let file = folder()?.join("vend.service");
    let failed = |error: std::io::Error| Exit::failed(&format!("{}: {error}", file.display()));
    match std::fs::read_to_string(&file) {
        Ok(old) if !old.starts_with(MARK) => {
            return Err(Exit::failed(&format!(
                "{} is not from here: move it away, or compare it with what `vend service` prints",
                file.display()
            )));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    atomic::replace(&file, unit.as_bytes()).map_err(failed)?;
    say(&format!("written to {}", file.display()))?;
    if passphrase {
        say(
            "The identity is under a passphrase: put it into the file that LoadCredential names, mode 0600.",
        )?;
    }
    say(
        "Start it now and with every login:\n  systemctl --user daemon-reload\n  systemctl --user enable --now vend\n\
         A user's units end when the user's last session does. To sell without anybody logged in:\n  loginctl enable-linger\n\
         Look at it:\n  vend status\n  journalctl --user -u vend",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places::new("/home/me/my conf/config.toml", "/home/me/100% \"data\"")
    }

    #[test]
    fn odd_paths_reach_systemd_as_they_are() {
        let unit = unit(Path::new("/usr/bin/vend"), &places(), false, 330);
        assert!(
            unit.contains("ExecStart=\"/usr/bin/vend\" --config \"/home/me/my conf/config.toml\" --data-dir \"/home/me/100%% \\\"data\\\"\" run\n"),
            "{unit}"
        );
        assert!(unit.contains("ReadWritePaths=-\"/home/me/100%%"), "{unit}");
    }

    #[test]
    fn a_credential_is_asked_for_only_where_the_key_needs_it() {
        let with = |passphrase| unit(Path::new("/usr/bin/vend"), &places(), passphrase, 330);
        assert!(with(false).contains("\n#LoadCredential=passphrase:/home/me/my conf/passphrase\n"));
        assert!(with(true).contains("\nLoadCredential=passphrase:"));
        assert!(with(true).contains("\nEnvironment=VEND_PASSPHRASE_FILE=%d/passphrase\n"));
    }
}
