//! How busy the machine is, beside the jobs that make it so. Looked at only while a job runs, once it rests again, and when
//! somebody has just begun to watch; at rest nothing wakes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, System};
use tokio_util::sync::CancellationToken;

use super::context::EngineContext;
use super::gpu;
use crate::domain::event::EventKind;
use crate::domain::load::MachineLoad;

/// Between two looks while a job runs.
const EVERY: Duration = Duration::from_secs(2);
/// Where Linux tells of graphics cards.
const CARDS: &str = "/sys/class/drm";

/// Works until `stop`.
pub async fn work(shop: Arc<EngineContext>, stop: CancellationToken) {
    // Not dropped half way through anything that matters: it only looks.
    tokio::select! {
        () = stop.cancelled() => {}
        () = watch(&shop) => {}
    }
}

async fn watch(shop: &EngineContext) {
    let mut eye = Eye::default();
    loop {
        shop.wakers.load.notified().await;
        // A processor's load is the difference of two looks, so the first one tells nothing yet.
        (eye, _) = look(eye).await;
        tokio::time::sleep(MINIMUM_CPU_UPDATE_INTERVAL).await;
        let mut worked = false;
        loop {
            let works = shop.running(|runs| !runs.is_empty());
            let (again, load) = look(eye).await;
            eye = again;
            shop.emit(EventKind::Load {
                load: Box::new(load),
            });
            // One look more after the work, so that what stays on the screen is the machine at rest.
            if !works && !worked {
                break;
            }
            worked = works;
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// One look, off the threads that serve sockets: it reads files of the system.
async fn look(eye: Eye) -> (Eye, MachineLoad) {
    tokio::task::spawn_blocking(move || {
        let mut eye = eye;
        let load = eye.look();
        (eye, load)
    })
    .await
    // The runtime is ending, or the look panicked: the next one begins anew.
    .unwrap_or_default()
}

/// What is kept between two looks.
#[derive(Default)]
struct Eye {
    system: Option<System>,
    nvidia: gpu::Nvidia,
}

impl Eye {
    fn look(&mut self) -> MachineLoad {
        let mut cards = gpu::cards(Path::new(CARDS));
        cards.extend(self.nvidia.look(None));
        let gpus = cards.into_iter().map(|card| card.load).collect();
        if self.system.is_none() {
            // A system that does not tell is asked again at the next look.
            self.system = System::new().ok();
        }
        let Some(system) = &mut self.system else {
            return MachineLoad {
                gpus,
                ..MachineLoad::default()
            };
        };
        system.refresh_cpu_usage();
        system.refresh_memory();
        MachineLoad {
            cpu_percent: percent(system.global_cpu_usage()),
            memory_used: system.used_memory(),
            memory_total: system.total_memory(),
            gpus,
        }
    }
}

/// Whole percent, 0 to 100.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 0 to 100 by then
fn percent(share: f32) -> u8 {
    if share.is_finite() {
        share.clamp(0.0, 100.0).round() as u8
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::domain::Hex32;
    use crate::domain::id::BootId;
    use crate::ledger::Ledger;

    #[test]
    fn a_share_is_whole_percent() {
        assert_eq!([0.4, 99.6, 250.0, -3.0].map(percent), [0, 100, 100, 0]);
        assert_eq!(percent(f32::NAN), 0);
    }

    #[tokio::test]
    async fn whoever_begins_to_watch_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("vend.db")).unwrap();
        let boot = BootId(Hex32([1; 32]));
        let shop = EngineContext::new(ledger, nostr::Keys::generate(), Settings::default(), boot);
        let mut events = shop.listen();
        let stop = CancellationToken::new();
        let task = tokio::spawn(work(shop.clone(), stop.clone()));
        shop.wakers.load.notify_one();
        let told = events.recv().await.unwrap();
        assert!(matches!(told.kind, EventKind::Load { .. }));
        stop.cancel();
        task.await.unwrap();
        assert!(events.is_empty());
    }
}
