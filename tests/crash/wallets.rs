//! The wallets that outlive the process: one of each class, behind one way to pay and to look into the books.

use std::path::PathBuf;

use serde_json::Value;
use vend::wallet::open::SANDBOX_FOLDER;
use vend::wallet::sandbox::SandboxPayer;

use crate::fake_node::{FakeNode, Life};
use crate::fake_wallet::FakeWallet;
use crate::shop::{Home, record};
use crate::{fake_cln, fake_lnd, fake_phoenixd};

/// What finds an invoice again whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The label, looked up (`LNbits`).
    Lnbits,
    /// The label, looked up (phoenixd).
    Phoenixd,
    /// The label: a second one under it is refused (Core Lightning).
    Cln,
    /// The label: the same invoice comes again (the sandbox).
    Sandbox,
    /// Nothing; of a hold invoice its hash (LND).
    Lnd,
}

pub enum WalletHandle {
    Lnbits(FakeWallet, PathBuf),
    Node(FakeNode),
    Sandbox(PathBuf),
}

/// What a wallet's books say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Invoices that were made.
    pub made: usize,
    /// Payments that are the seller's, msat.
    pub taken: Vec<u64>,
    /// Payments that wait to be taken or given back.
    pub held: usize,
}

impl WalletHandle {
    /// Starts it; with what stands in `[wallet]` for it.
    pub fn start(class: Class, home: &Home) -> (Self, String) {
        let node = |node: FakeNode, backend: &str, key: &str| {
            let (url, secret) = (node.url(), node.secret());
            let text = format!("backend = \"{backend}\"\nurl = \"{url}\"\n{key} = \"{secret}\"\n");
            (Self::Node(node), text)
        };
        match class {
            Class::Lnbits => {
                let path = home.folder.path().join("wallet.jsonl");
                let wallet = FakeWallet::start(&path);
                let (url, key) = (wallet.url(), wallet.invoice_key());
                let text =
                    format!("backend = \"lnbits\"\nurl = \"{url}\"\ninvoice_key = \"{key}\"\n");
                (Self::Lnbits(wallet, path), text)
            }
            Class::Phoenixd => node(fake_phoenixd::start(), "phoenixd", "password"),
            Class::Cln => node(fake_cln::start(None), "cln", "rune"),
            Class::Lnd => node(fake_lnd::start(None), "lnd", "macaroon"),
            Class::Sandbox => {
                let folder = home.data().join(SANDBOX_FOLDER);
                (Self::Sandbox(folder), "backend = \"sandbox\"\n".to_owned())
            }
        }
    }

    /// Pays an invoice as the buyer.
    pub fn pay(&self, bolt11: &str) -> Result<(), String> {
        match self {
            Self::Lnbits(wallet, _) => wallet.pay(bolt11).map(drop),
            Self::Node(node) => node.pay(bolt11).map(drop),
            Self::Sandbox(folder) => {
                let payer = SandboxPayer::open(folder).map_err(|error| error.to_string())?;
                let paid = payer.pay(bolt11).map(drop);
                paid.map_err(|error| error.to_string())
            }
        }
    }

    pub fn books(&self) -> Accounting {
        match self {
            Self::Lnbits(_, path) => {
                let lines = record(path);
                let of = |what: &'static str| lines.iter().filter(move |line| line["what"] == what);
                let taken = of("paid").filter_map(|line| line["amount_msat"].as_u64());
                Accounting {
                    made: of("create").count(),
                    taken: taken.collect(),
                    held: 0,
                }
            }
            Self::Node(node) => node.books(|books| {
                let mut said = Accounting::default();
                for invoice in books.all() {
                    said.made += 1;
                    match invoice.life {
                        Life::Paid { amount_msat, .. } => said.taken.push(amount_msat),
                        Life::Held { .. } => said.held += 1,
                        Life::Open | Life::Canceled => {}
                    }
                }
                said
            }),
            Self::Sandbox(folder) => sandbox(folder),
        }
    }
}

/// The sandbox's books are files: see `wallet::sandbox::book`.
fn sandbox(folder: &std::path::Path) -> Accounting {
    let mut said = Accounting::default();
    let Ok(files) = std::fs::read_dir(folder) else {
        return said;
    };
    for file in files {
        let path = file.unwrap().path();
        let mark = |ending: &str| path.with_extension(ending).exists();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        said.made += 1;
        if mark("paid") {
            let text = std::fs::read_to_string(&path).unwrap();
            let invoice: Value = serde_json::from_str(&text).unwrap();
            said.taken.push(invoice["amount_msat"].as_u64().unwrap());
        } else if mark("held") && !mark("canceled") {
            said.held += 1;
        }
    }
    said
}
