//! A regtest chain of btcd's with LND nodes on it: the first pays, each has a channel to the next, the last is the
//! seller's. The channel to the seller is not announced, as is the rule behind a router; all others are.

use std::path::PathBuf;
use std::thread::JoinHandle;

use serde_json::Value;

use crate::stage::{Server, free_port, script, try_script};

/// Enough for coins that can be spent, and for the rules that channels rest on to be in force.
const BLOCKS: &str = "450";

pub struct Lightning {
    _chain: Server,
    nodes: Vec<Server>,
    keys: Vec<String>,
}

impl Lightning {
    /// Returns when every channel can be used. The names are the nodes' aliases.
    pub fn open(names: &[&str]) -> Self {
        let mut chain = Server::start("btcd", &[]).up();
        let (first, rest) = names.split_first().unwrap();
        let mut payer = launch(&chain, first).up();
        // btcd is told where to mine when it starts, and the payer's node needs a chain to say where: so both start twice.
        let address = script("lnd.py", &["address", &word(&payer)]);
        payer.kill();
        chain.kill();
        chain.restart_with(&[address["address"].as_str().unwrap()]);
        script("lnd.py", &["mine", &word(&chain), BLOCKS]);
        payer.restart();
        let mut nodes = vec![payer];
        nodes.extend(rest.iter().map(|name| launch(&chain, name)));
        let nodes: Vec<Server> = nodes.into_iter().map(Server::up).collect();
        let words: Vec<String> = [&chain].into_iter().chain(&nodes).map(word).collect();
        let mut arguments = vec!["route"];
        arguments.extend(words.iter().map(String::as_str));
        let told = script("lnd.py", &arguments);
        let keys = told["nodes"].as_array().unwrap().iter();
        let keys = keys.map(|key| key.as_str().unwrap().to_owned()).collect();
        Self {
            _chain: chain,
            nodes,
            keys,
        }
    }

    fn payer(&self) -> &Server {
        &self.nodes[0]
    }

    fn seller(&self) -> &Server {
        &self.nodes[self.nodes.len() - 1]
    }

    /// The seller's REST interface.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.seller().port())
    }

    pub fn certificate(&self) -> PathBuf {
        self.seller().dir().join("tls.cert")
    }

    pub fn payers_certificate(&self) -> PathBuf {
        self.payer().dir().join("tls.cert")
    }

    /// One of those that the seller's node has made by itself.
    pub fn macaroon(&self, name: &str) -> PathBuf {
        let folder = self.seller().dir().join("data/chain/bitcoin/regtest");
        folder.join(format!("{name}.macaroon"))
    }

    /// A macaroon of the seller's node with these permissions, hex.
    pub fn bake(&self, permissions: &[&str]) -> String {
        bake(self.seller(), permissions)
    }

    /// One of another node.
    pub fn bake_of_payer(&self, permissions: &[&str]) -> String {
        bake(self.payer(), permissions)
    }

    pub fn seller_key(&self) -> &str {
        &self.keys[self.keys.len() - 1]
    }

    /// How the payer reads an invoice.
    pub fn decode(&self, bolt11: &str) -> Value {
        script("lnd.py", &["decode", &word(self.payer()), bolt11])
    }

    /// Starts a payment of the payer's.
    pub fn pay(&self, bolt11: &str) -> Payment {
        let (payer, bolt11) = (word(self.payer()), bolt11.to_owned());
        Payment(std::thread::spawn(move || {
            try_script("lnd.py", &["pay", &payer, &bolt11])
        }))
    }

    /// The payer's money in its channel, msat; what is on its way is not in it.
    pub fn payer_holds(&self) -> u64 {
        amount(self.payer(), "local_balance")
    }

    pub fn seller_holds(&self) -> u64 {
        amount(self.seller(), "local_balance")
    }

    pub fn seller_may_receive(&self) -> u64 {
        amount(self.seller(), "remote_balance")
    }
}

/// A payment under way.
pub struct Payment(JoinHandle<Result<Value, String>>);

impl Payment {
    /// What became of it: SUCCEEDED, or FAILED and the money is back.
    pub fn done(self) -> Value {
        self.0.join().unwrap().unwrap()
    }

    /// The node's words where it did not even try.
    pub fn refused(self) -> String {
        self.0.join().unwrap().unwrap_err()
    }
}

fn launch(chain: &Server, alias: &str) -> Server {
    let (rpc, peers) = (free_port().to_string(), free_port().to_string());
    let (port, dir) = (chain.port().to_string(), chain.dir().to_str().unwrap());
    Server::start("lnd", &[&rpc, &peers, &port, dir, alias])
}

fn word(server: &Server) -> String {
    format!("{}:{}", server.port(), server.dir().display())
}

fn bake(node: &Server, permissions: &[&str]) -> String {
    let node = word(node);
    let arguments: Vec<&str> = ["bake", &node]
        .into_iter()
        .chain(permissions.iter().copied())
        .collect();
    script("lnd.py", &arguments)["macaroon"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn amount(node: &Server, name: &str) -> u64 {
    script("lnd.py", &["balance", &word(node)])[name]
        .as_u64()
        .unwrap()
}
