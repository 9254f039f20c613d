use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;

use super::*;

/// A laptop on its battery, with an AMD card, a desktop session, and Ollama begun by hand.
const LAPTOP: &str = include_str!("../../../../tests/machines/laptop.txt");
/// A tower with Ollama as a service of its own user, a mouse with a battery, and a game under Wine.
const TOWER: &str = include_str!("../../../../tests/machines/tower.txt");
/// A rented server in a container: no power supply, no card, nobody at a terminal.
const SERVER: &str = include_str!("../../../../tests/machines/server.txt");

/// Lays a recorded machine out: `== path`, then the file; `== path -> target` is a link.
fn lay_out(text: &str) -> (tempfile::TempDir, Roots) {
    let folder = tempfile::tempdir().unwrap();
    for part in text.split("== ").skip(1) {
        let (head, body) = part.split_once('\n').unwrap();
        let (path, target) = head
            .split_once(" -> ")
            .map_or((head, None), |(p, t)| (p, Some(t)));
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match target {
            Some(target) => symlink(target, &path).unwrap(),
            None => fs::write(&path, body.trim_end().replace("\\0", "\0")).unwrap(),
        }
    }
    let roots = Roots {
        proc: folder.path().join("proc"),
        sys: folder.path().join("sys"),
        dev: folder.path().join("dev"),
        sessions: folder.path().join("run/systemd/sessions"),
        us: 4_100,
    };
    (folder, roots)
}

fn all(ports: &[u16]) -> Wanted {
    Wanted {
        battery: true,
        idle: false,
        programs: ["Game.exe", "steam", "blender"].map(String::from).to_vec(),
        cpu: true,
        gpu: true,
        ports: ports.to_vec(),
        works: false,
    }
}

/// Adds ticks to a process, and to the processors' busy and idle time.
fn pass(roots: &Roots, ticks: &[(u32, u64)], busy: u64, idle: u64) {
    let change = |path: PathBuf, field: usize, by: u64, from: &str| {
        let text = fs::read_to_string(&path).unwrap();
        let (line, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let (before, after) = line.rsplit_once(from).unwrap();
        let mut fields: Vec<String> = after.split_whitespace().map(String::from).collect();
        fields[field] = (fields[field].parse::<u64>().unwrap() + by).to_string();
        let line = format!("{before}{from} {}", fields.join(" "));
        fs::write(&path, format!("{line}\n{rest}")).unwrap();
    };
    for (pid, by) in ticks {
        change(roots.proc.join(pid.to_string()).join("stat"), 11, *by, ")");
    }
    change(roots.proc.join("stat"), 0, busy, "cpu");
    change(roots.proc.join("stat"), 3, idle, "cpu");
}

#[tokio::test]
async fn a_laptop_tells_its_battery_its_card_and_what_others_use() {
    let (_folder, roots) = lay_out(LAPTOP);
    let mut meter = SystemMeter::at(roots.clone());
    let first = meter.read(&all(&[11_434])).await;
    assert_eq!(first.on_battery, Reading::Is(true));
    assert_eq!(first.programs, Reading::Is(vec!["blender".to_owned()]));
    assert_eq!(
        first.cpu,
        Reading::Hidden,
        "one look knows nothing of a share"
    );
    assert_eq!(first.celsius, Reading::Is(71));
    assert_eq!(first.gpu, Reading::Is(34));
    assert_eq!(
        first.vram_mb,
        Reading::Absent,
        "nobody tells what of it is ours"
    );
    // Of 800 ticks Ollama's runner uses 300, vend 20, the person's programs 200.
    pass(&roots, &[(3_950, 300), (4_100, 20), (2_400, 200)], 520, 280);
    let second = meter.read(&all(&[11_434])).await;
    assert_eq!(second.cpu, Reading::Is(25));
    // While a job of ours runs, the card's use says nothing of others.
    let works = Wanted {
        works: true,
        ..all(&[11_434])
    };
    assert_eq!(meter.read(&works).await.gpu, Reading::Hidden);
}

#[tokio::test]
async fn a_service_is_known_by_its_port_and_a_mouse_is_no_battery() {
    let (_folder, roots) = lay_out(TOWER);
    let mut meter = SystemMeter::at(roots.clone());
    let first = meter.read(&all(&[8_000])).await;
    assert_eq!(first.on_battery, Reading::Is(false));
    assert_eq!(
        first.programs,
        Reading::Is(vec!["Game.exe".to_owned(), "steam".to_owned()])
    );
    // A Python program behind port 8000, of a user of its own, and what it began.
    pass(&roots, &[(1_201, 350), (1_240, 50), (6_001, 100)], 500, 500);
    assert_eq!(meter.read(&all(&[8_000])).await.cpu, Reading::Is(10));
    // Asked without its port it is somebody else's.
    let (_folder, roots) = lay_out(TOWER);
    let mut meter = SystemMeter::at(roots.clone());
    meter.read(&all(&[])).await;
    pass(&roots, &[(1_201, 350), (1_240, 50), (6_001, 100)], 500, 500);
    assert_eq!(meter.read(&all(&[])).await.cpu, Reading::Is(50));
}

#[tokio::test]
async fn a_server_says_what_it_does_not_tell() {
    let (_folder, roots) = lay_out(SERVER);
    let mut meter = SystemMeter::at(roots.clone());
    let wanted = Wanted {
        idle: true,
        ..all(&[9_000])
    };
    let read = meter.read(&wanted).await;
    assert_eq!(read.on_battery, Reading::Absent);
    assert_eq!(read.idle, Reading::Absent);
    assert_eq!(read.programs, Reading::Is(Vec::new()));
    // A server of our own user is found by the socket that it holds.
    pass(&roots, &[(5_300, 600)], 800, 200);
    assert_eq!(meter.read(&wanted).await.cpu, Reading::Is(20));
}

#[tokio::test]
async fn the_terminal_that_was_typed_on_last_tells_how_idle_it_is() {
    let (folder, roots) = lay_out(SERVER);
    let mut meter = SystemMeter::at(roots);
    let ago = |secs| SystemTime::now() - Duration::from_secs(secs);
    for (name, secs) in [
        ("pts/0", 900),
        ("pts/3", 300),
        ("pts/ptmx", 1),
        ("tty1", 5_000),
        ("ttyS0", 2),
    ] {
        let path = folder.path().join("dev").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(&path).unwrap();
        file.set_times(FileTimes::new().set_accessed(ago(secs)))
            .unwrap();
    }
    let wanted = Wanted {
        idle: true,
        ..Wanted::default()
    };
    let Reading::Is(idle) = meter.read(&wanted).await.idle else {
        panic!("not told");
    };
    assert!((300..360).contains(&idle.as_secs()), "{idle:?}");
}

#[tokio::test]
async fn a_charger_that_is_pulled_is_seen() {
    let (folder, roots) = lay_out(LAPTOP);
    let mut meter = SystemMeter::at(roots);
    let plug = folder.path().join("sys/class/power_supply/AC/online");
    fs::write(&plug, "1\n").unwrap();
    let wanted = Wanted {
        battery: true,
        ..Wanted::default()
    };
    assert_eq!(meter.read(&wanted).await.on_battery, Reading::Is(false));
    fs::write(&plug, "0\n").unwrap();
    assert_eq!(meter.read(&wanted).await.on_battery, Reading::Is(true));
}

#[tokio::test]
async fn a_counter_of_energy_is_followed_over_its_end() {
    let (folder, roots) = lay_out(SERVER);
    let zone = folder.path().join("sys/class/powercap/intel-rapl:0");
    let core = folder.path().join("sys/class/powercap/intel-rapl:0:0");
    let put = |zone: &Path, name: &str, energy: u64| {
        fs::create_dir_all(zone).unwrap();
        fs::write(zone.join("name"), format!("{name}\n")).unwrap();
        fs::write(zone.join("max_energy_range_uj"), "10000000\n").unwrap();
        fs::write(zone.join("energy_uj"), format!("{energy}\n")).unwrap();
    };
    let mut meter = SystemMeter::at(roots.clone());
    assert_eq!(meter.drawn().await, None, "nothing is measured here");
    put(&zone, "package-0", 9_000_000);
    put(&core, "core", 4_000_000);
    assert_eq!(meter.drawn().await, Some(0));
    put(&zone, "package-0", 9_500_000);
    assert_eq!(
        meter.drawn().await,
        Some(500),
        "without the core, which is in it"
    );
    put(&zone, "package-0", 250_000);
    assert_eq!(meter.drawn().await, Some(1_250));
}
