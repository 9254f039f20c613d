//! The sandbox: books in a folder, and a payer beside them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use vend::domain::invoice::Network;
use vend::domain::time::Time;
use vend::wallet::sandbox::{PayError, SandboxPayer, SandboxWallet};
use vend::wallet::{Issued, Wallet};

use crate::{Cannot, Stage, Trouble};

struct Sandbox {
    folder: TempDir,
}

pub fn start() -> Box<dyn Stage> {
    Box::new(Sandbox {
        folder: tempfile::tempdir().unwrap(),
    })
}

impl Sandbox {
    fn dir(&self) -> PathBuf {
        self.folder.path().join("sandbox")
    }

    fn payer(&self) -> SandboxPayer {
        SandboxPayer::open(&self.dir()).unwrap()
    }
}

impl Stage for Sandbox {
    fn wallet(&self) -> Arc<dyn Wallet> {
        Arc::new(SandboxWallet::open(&self.dir(), Network::Regtest).unwrap())
    }

    fn hasty(&self, _call: Duration) -> Arc<dyn Wallet> {
        self.wallet()
    }

    fn pay(&self, issued: &Issued, more_msat: u64) -> Result<(), Cannot> {
        if more_msat > 0 {
            return Err("takes the very amount");
        }
        self.payer().pay(&issued.bolt11).unwrap();
        Ok(())
    }

    fn expire(&self, issued: &Issued) {
        let path = self.dir().join(format!("{}.json", issued.payment_hash));
        let text = std::fs::read_to_string(&path).unwrap();
        let mut record: Value = serde_json::from_str(&text).unwrap();
        record["expires_at"] = Value::from(Time::now().to_string());
        std::fs::write(&path, record.to_string()).unwrap();
    }

    fn pay_late(&self, issued: &Issued) -> Result<(), Cannot> {
        let refused = self.payer().pay(&issued.bolt11);
        assert!(matches!(refused, Err(PayError::Expired)), "{refused:?}");
        Err("takes no late payment")
    }

    fn trouble(&self, _trouble: Option<Trouble>) -> Result<(), Cannot> {
        Err("no server")
    }

    fn wait_for_created(&self) {}
}
