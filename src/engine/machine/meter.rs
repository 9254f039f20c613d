//! Reads the machine: the real one from `/proc`, `/sys`, its terminals, logind and the drivers of its graphics cards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::domain::machine::{Reading, Readings};
use crate::engine::gpu::{self, Card};

use super::presence::{self, Desktops};
use super::{power, processes};

const MB: u64 = 1_000_000;

/// What is asked of a meter. What is not wanted is not read.
#[allow(clippy::struct_excessive_bools)] // each is a question of its own
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Is it on battery?
    pub battery: bool,
    /// How long has nobody used it?
    pub idle: bool,
    /// Which of these programs run?
    pub programs: Vec<String>,
    /// What do others use of the processor?
    pub cpu: bool,
    /// What do others use of the graphics cards, and how hot are those?
    pub gpu: bool,
    /// Ports on this machine at which our endpoints listen.
    pub ports: Vec<u16>,
    /// A job of ours runs now.
    pub works: bool,
}

/// Reads a machine, and tells the time by which its readings last.
pub trait Meter: Send + 'static {
    /// What is wanted, as it is now.
    fn read(&mut self, wanted: &Wanted) -> impl Future<Output = Readings> + Send;

    /// What the machine has drawn since the meter began, thousandths of a joule; none where it does not measure.
    fn drawn(&mut self) -> impl Future<Output = Option<u64>> + Send;

    /// Waits until the next look.
    fn wait(&mut self, wait: Duration) -> impl Future<Output = ()> + Send;

    /// How long it has been read, by a clock that nobody can set.
    fn steady(&self) -> Duration;
}

/// Where the system tells of itself.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/proc`
    pub proc: PathBuf,
    /// `/sys`
    pub sys: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
    /// `/run/systemd/sessions`
    pub sessions: PathBuf,
    /// Our own process.
    pub us: u32,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
            dev: "/dev".into(),
            sessions: "/run/systemd/sessions".into(),
            us: std::process::id(),
        }
    }
}

/// This machine.
pub struct SystemMeter {
    roots: Roots,
    kept: ArchivedWallet,
    desktops: Desktops,
    began: Instant,
}

impl Default for SystemMeter {
    fn default() -> Self {
        Self {
            roots: Roots::default(),
            kept: ArchivedWallet::default(),
            desktops: Desktops::default(),
            began: Instant::now(),
        }
    }
}

/// What is kept between two looks.
#[derive(Default)]
struct ArchivedWallet {
    nvidia: gpu::Nvidia,
    ticks: Option<(u64, u64)>,
    /// What our processes had used, by number and beginning.
    ours: BTreeMap<(u32, u64), u64>,
    /// Each counter of the processors as it was read last, millionths of a joule.
    counters: BTreeMap<PathBuf, u64>,
    /// What the graphics cards' own counters were, by their place in the list, thousandths of a joule.
    cards: BTreeMap<usize, u64>,
    /// When the cards that have no counter were read.
    at: Option<Instant>,
    /// What was drawn so far, millionths of a joule; none before anything was measured.
    sum: Option<u64>,
}

impl SystemMeter {
    /// A machine that tells of itself elsewhere.
    #[cfg(test)]
    #[must_use]
    pub fn at(roots: Roots) -> Self {
        Self {
            roots,
            ..Self::default()
        }
    }

    /// Nobody at a terminal, nor at a desktop.
    async fn idle(&mut self) -> Reading<Duration> {
        let now = SystemTime::now();
        let terminals = presence::terminals(&self.roots.dev, now);
        let desktops = presence::desktops(&self.roots.sessions).unwrap_or_default();
        if desktops.is_empty() {
            return terminals.into();
        }
        let Some(idle) = self.desktops.idle(&desktops, now).await else {
            // Somebody may be at a desktop that nothing is known of.
            return Reading::Absent;
        };
        Reading::Is(terminals.map_or(idle, |terminals| terminals.min(idle)))
    }
}

impl Meter for SystemMeter {
    async fn read(&mut self, wanted: &Wanted) -> Readings {
        let (roots, asked) = (self.roots.clone(), wanted.clone());
        let mut kept = std::mem::take(&mut self.kept);
        let read = tokio::task::spawn_blocking(move || {
            let readings = kept.files(&roots, &asked);
            (kept, readings)
        });
        // The runtime is ending, or the look panicked: the next one begins anew.
        let (kept, mut readings) = read.await.unwrap_or_default();
        self.kept = kept;
        if wanted.idle {
            readings.idle = self.idle().await;
        }
        readings
    }

    async fn drawn(&mut self) -> Option<u64> {
        let (roots, mut kept) = (self.roots.clone(), std::mem::take(&mut self.kept));
        let read = tokio::task::spawn_blocking(move || {
            let drawn = kept.drawn(&roots);
            (kept, drawn)
        });
        // The runtime is ending, or the look panicked: the next one begins anew.
        let (kept, drawn) = read.await.unwrap_or_default();
        self.kept = kept;
        drawn
    }

    async fn wait(&mut self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }

    fn steady(&self) -> Duration {
        self.began.elapsed()
    }
}

impl ArchivedWallet {
    /// What stands in files, and what drivers tell: off the threads that serve sockets.
    fn files(&mut self, roots: &Roots, wanted: &Wanted) -> Readings {
        let mut readings = Readings::default();
        if wanted.battery {
            let supplies = roots.sys.join("class/power_supply");
            readings.on_battery = power::on_battery(&supplies).into();
        }
        if wanted.programs.is_empty() && !wanted.cpu && !wanted.gpu {
            return readings;
        }
        let found = processes::all(&roots.proc);
        let listed = found.is_some();
        let running = found.unwrap_or_default();
        if !wanted.programs.is_empty() && listed {
            let programs = processes::running(&roots.proc, &running, &wanted.programs);
            readings.programs = Reading::Is(programs);
        }
        if !wanted.cpu && !wanted.gpu {
            return readings;
        }
        let ours = processes::ours(&roots.proc, &running, roots.us, &wanted.ports);
        if wanted.cpu && listed {
            readings.cpu = self.cpu(&roots.proc, &running, &ours);
        }
        if wanted.gpu {
            let mut cards = gpu::cards(&roots.sys.join("class/drm"));
            cards.extend(self.nvidia.look(Some(&ours)));
            graphics(&cards, wanted.works, &mut readings);
        }
        readings
    }

    /// The processors by their counters (RAPL); the cards by theirs, or by what they draw now.
    fn drawn(&mut self, roots: &Roots) -> Option<u64> {
        let mut more = 0_u64;
        for (zone, energy, most) in power::counters(&roots.sys.join("class/powercap")) {
            let before = self.counters.insert(zone, energy);
            self.sum.get_or_insert(0);
            more += before.map_or(0, |before| {
                let wrapped = || most.saturating_sub(before).saturating_add(energy);
                energy.checked_sub(before).unwrap_or_else(wrapped)
            });
        }
        let now = Instant::now();
        let passed = self.at.replace(now).map(|at| now.duration_since(at));
        let mut cards = gpu::cards(&roots.sys.join("class/drm"));
        cards.extend(self.nvidia.look(None));
        for (index, card) in cards.iter().enumerate() {
            if let Some(millijoules) = card.millijoules {
                let before = self.cards.insert(index, millijoules).unwrap_or(millijoules);
                self.sum.get_or_insert(0);
                more += millijoules.saturating_sub(before).saturating_mul(1_000);
            } else if let Some(watts) = card.watts {
                let passed = passed.unwrap_or_default().as_micros();
                self.sum.get_or_insert(0);
                more += u64::from(watts).saturating_mul(u64::try_from(passed).unwrap_or(0));
            }
        }
        let sum = self.sum.as_mut()?;
        *sum = sum.saturating_add(more);
        Some(*sum / 1_000)
    }

    /// The share of all processors that others used since the last look. The first look knows nothing yet.
    fn cpu(
        &mut self,
        proc: &Path,
        running: &processes::Processes,
        ours: &BTreeSet<u32>,
    ) -> Reading<u8> {
        let Some(ticks) = processes::ticks(proc) else {
            return Reading::Absent;
        };
        let mut used = 0;
        let mut held = BTreeMap::new();
        for (pid, process) in running.iter().filter(|(pid, _)| ours.contains(pid)) {
            let which = (*pid, process.began);
            let before = self.ours.get(&which).copied().unwrap_or(0);
            used += process.ticks.saturating_sub(before);
            held.insert(which, process.ticks);
        }
        self.ours = held;
        let Some((busy, total)) = self.ticks.replace(ticks) else {
            return Reading::Hidden;
        };
        let all = ticks.1.saturating_sub(total);
        if all == 0 {
            return Reading::Hidden;
        }
        let others = ticks.0.saturating_sub(busy).saturating_sub(used);
        Reading::Is(
            u8::try_from(others.saturating_mul(100) / all)
                .unwrap_or(100)
                .min(100),
        )
    }
}

/// The busiest, the hottest, and the one with the most memory for us.
fn graphics(cards: &[Card], works: bool, readings: &mut Readings) {
    readings.celsius = cards.iter().filter_map(|card| card.celsius).max().into();
    let mut busiest: Reading<u8> = Reading::Absent;
    for card in cards {
        let share = match (card.by_others, card.load.busy_percent) {
            (Some(share), _) => Reading::Is(share),
            (None, Some(_)) if works => Reading::Hidden,
            (None, share) => share.into(),
        };
        busiest = match (busiest, share) {
            (Reading::Is(one), Reading::Is(other)) => Reading::Is(one.max(other)),
            (Reading::Is(one), _) | (_, Reading::Is(one)) => Reading::Is(one),
            (Reading::Hidden, _) | (_, Reading::Hidden) => Reading::Hidden,
            _ => Reading::Absent,
        };
    }
    readings.gpu = busiest;
    // Without knowing what of it is ours, our own model would look like somebody else's use.
    let left = |card: &Card| {
        let load = &card.load;
        let free = load.memory_total?.saturating_sub(load.memory_used?);
        Some(free.saturating_add(card.ours_memory?) / MB)
    };
    readings.vram_mb = cards.iter().filter_map(left).max().into();
}

#[cfg(test)]
mod tests;
