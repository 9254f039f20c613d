//! A disk that runs full under the shop: a small file system of its own, which the test needs the right to mount.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::{Buyer, Lnbits, Place, Server, ready, request_of};
use crate::{BUILTIN, QUESTION, bolt11, lnbits, settled};

const MB: usize = 1_000_000;

/// A file system of 300 MB, gone with this.
struct Small(PathBuf);

impl Small {
    /// None where the test has no right to mount one.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=300M,mode=700", "tmpfs"]);
        let done = mount.arg(at).output().ok()?.status.success();
        done.then(|| Self(at.to_owned()))
    }

    /// Takes this much of it, or all that is left.
    fn fill(&self, most: usize) {
        let mut file = fs::File::create(self.0.join("others")).unwrap();
        let block = vec![0_u8; MB / 10];
        for _ in 0..most / block.len() {
            if file.write_all(&block).is_err() {
                // The last bytes too.
                while file.write_all(&[0]).is_ok() {}
                return;
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("others")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        let done = umount.arg("-l").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_disk_that_runs_full_loses_no_payment() {
    let name = "a_disk_that_runs_full_loses_no_payment";
    if !ready(name, &["relay", "lnbits", "node"]) {
        return;
    }
    let relay = Server::start("relay", &[]);
    let wallet = Lnbits::open(Server::start("lnbits", &[]));
    let relay = relay.up();
    let place = Place::new(&relay.ws(), "after", "");
    let settings = format!("{}{BUILTIN}", lnbits(&place, &wallet));
    place.settle(&relay.ws(), "after", &settings);
    let Some(disk) = Small::mount(&place.data()) else {
        let line = format!("skipped {name}: no right to mount a file system\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    };
    let shop = place.open();
    let npub = place.npub();
    let ask = |prompt: &str| Buyer::ask(&relay.ws(), &npub, prompt, "none");
    let result = ask(QUESTION).result();
    let id = request_of(&result);

    // Little room: nothing new is taken, and the reason is told.
    disk.fill(200 * MB);
    let state = shop.state("degraded");
    let detail = state["detail"].as_str().unwrap();
    assert!(detail.contains("free some space"), "{state}");
    let refused = ask("Is there room?");
    shop.event("the refusal", |event| {
        event["event"] == "dropped" && event["reason"] == "busy"
    });
    drop(refused);
    let row = place.doctor("data");
    assert_eq!(row["status"], "fail", "{row}");
    assert_eq!(row["fix"], "df -h", "{row}");

    // No room at all, and the payment comes now: it is told that it can't be written down, and it is when it can be.
    disk.fill(1_000 * MB);
    let paid = wallet.pay(bolt11(&result));
    shop.event("the ledger's refusal", |event| {
        event["event"] == "notice" && event["category"] == "ledger"
    });
    assert_eq!(place.job(&id)["paid_msat"], 0);
    disk.free();
    settled(&place, &shop, &id, &result["amount_msat"], paid);

    shop.state("online");
    let result = ask(&format!("{QUESTION} ")).result();
    assert_eq!(result["kind"], 6050, "{result}");
    shop.stop(&place);
}
