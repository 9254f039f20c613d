//! Who runs on this machine, and who of them works for the shop, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Programs that serve models, by the name of their process: they work for the shop where one of its endpoints is on this machine.
const SERVERS: [&str; 9] = [
    "ollama",
    "ollama_llama_server",
    "llama-server",
    "llama-box",
    "vllm",
    "VLLM::EngineCore",
    "koboldcpp",
    "LM Studio",
    "lms",
];
/// Linux keeps so many bytes of a process's name.
const NAME_BYTES: usize = 15;
/// A listening socket, in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What it calls itself.
    pub name: String,
    /// Who began it.
    pub parent: u32,
    /// When it began, which with its number says which one it is.
    pub began: u64,
    /// The processor's time that it used, in ticks.
    pub ticks: u64,
}

/// All processes by their number.
pub type Processes = BTreeMap<u32, Process>;

/// The processes now; none where this system does not tell.
pub fn all(proc: &Path) -> Option<Processes> {
    let folder = fs::read_dir(proc).ok()?;
    let mut found = Processes::new();
    for entry in folder.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // One that has ended meanwhile has no file any more.
        let stat = fs::read_to_string(entry.path().join("stat"));
        if let Some(process) = stat.ok().and_then(|stat| read(&stat)) {
            found.insert(pid, process);
        }
    }
    (!found.is_empty()).then_some(found)
}

/// `pid (name) state parent …`, proc(5). A name may hold blanks and brackets.
fn read(stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    // The state is field 3 of the manual's list.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        name: name.to_owned(),
        parent: u32::try_from(number(4)?).ok()?,
        ticks: number(14)?.saturating_add(number(15)?),
        began: number(22)?,
    })
}

/// Busy and all ticks of all processors since the machine began.
pub fn ticks(proc: &Path) -> Option<(u64, u64)> {
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // Guests are in the others already.
    let numbers: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|n| n.parse().ok())
        .collect();
    let idle = numbers.get(3)?.saturating_add(*numbers.get(4)?);
    let total: u64 = numbers.iter().sum();
    Some((total.saturating_sub(idle), total))
}

/// Which of these programs run. Case does not matter; a name is that of the process, or of its file.
pub fn running(proc: &Path, processes: &Processes, wanted: &[String]) -> Vec<String> {
    let mut found = vec![false; wanted.len()];
    for (pid, process) in processes {
        let file = if found.iter().all(|found| *found) {
            break;
        } else {
            file_name(proc, *pid)
        };
        for (index, name) in wanted.iter().enumerate() {
            let is = |other: &str| other.eq_ignore_ascii_case(name);
            if is(&process.name) || file.as_deref().is_some_and(is) {
                found[index] = true;
            }
        }
    }
    let named = wanted.iter().zip(found).filter(|(_, found)| *found);
    named.map(|(name, _)| name.clone()).collect()
}

/// The name of a process's program, whole, as its arguments begin with it. Games under Wine have a path of Windows.
fn file_name(proc: &Path, pid: u32) -> Option<String> {
    let line = fs::read(proc.join(pid.to_string()).join("cmdline")).ok()?;
    let first = line.split(|byte| *byte == 0).next()?;
    let first = String::from_utf8_lossy(first);
    let name = first.rsplit(['/', '\\']).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The processes that work for the shop: `us`, the servers behind its endpoints' ports, and all that they began.
pub fn ours(proc: &Path, processes: &Processes, us: u32, ports: &[u16]) -> BTreeSet<u32> {
    let mut ours = BTreeSet::from([us]);
    if !ports.is_empty() {
        let server = |process: &Process| {
            let kept = |name: &str| name.get(..NAME_BYTES).unwrap_or(name) == process.name;
            SERVERS.iter().any(|name| kept(name))
        };
        let named = processes.iter().filter(|(_, process)| server(process));
        ours.extend(named.map(|(pid, _)| *pid));
        ours.extend(listeners(proc, processes, us, ports));
    }
    // Until nobody new is found: what they began, and what that began.
    loop {
        let began = processes
            .iter()
            .filter(|(pid, process)| ours.contains(&process.parent) && !ours.contains(pid))
            .map(|(pid, _)| *pid)
            .collect::<Vec<_>>();
        if began.is_empty() {
            return ours;
        }
        ours.extend(began);
    }
}

/// Who listens on these ports: the process that holds the socket, where it may be seen, otherwise all of the service's own user.
fn listeners(proc: &Path, processes: &Processes, us: u32, ports: &[u16]) -> Vec<u32> {
    let mut sockets = Vec::new();
    for file in ["net/tcp", "net/tcp6"] {
        let table = fs::read_to_string(proc.join(file)).unwrap_or_default();
        sockets.extend(table.lines().filter_map(|line| listening(line, ports)));
    }
    if sockets.is_empty() {
        return Vec::new();
    }
    let own = user_of(proc, us);
    let holds = |pid: u32, user: Option<u32>| {
        sockets.iter().any(|(owner, inode)| {
            // A service's user has nothing but the service; a person and root have all sorts of things.
            let service = *owner != 0 && Some(*owner) != own;
            user == Some(*owner) && (service || has_socket(proc, pid, inode))
        })
    };
    let pids = processes.keys().copied();
    pids.filter(|pid| holds(*pid, user_of(proc, *pid)))
        .collect()
}

/// The user and the inode of a socket that listens on one of the ports.
fn listening(line: &str, ports: &[u16]) -> Option<(u32, String)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, port) = fields.get(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let listens = *fields.get(3)? == LISTENS && ports.contains(&port);
    let user = fields.get(7)?.parse().ok()?;
    listens.then(|| (user, fields.get(9).copied().unwrap_or_default().to_owned()))
}

fn user_of(proc: &Path, pid: u32) -> Option<u32> {
    let status = fs::read_to_string(proc.join(pid.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn has_socket(proc: &Path, pid: u32, inode: &str) -> bool {
    let wanted = format!("socket:[{inode}]");
    // Another user's can't be read.
    let Ok(folder) = fs::read_dir(proc.join(pid.to_string()).join("fd")) else {
        return false;
    };
    let targets = folder
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .into_iter()
        .any(|target| target.as_os_str() == wanted.as_str())
}
