//! `vend spark` and `vend doctor`, the real binary.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }

    fn words(&self) -> String {
        std::fs::read_to_string(self.data().join("spark.words")).unwrap()
    }

    /// `vend` with nothing on the path but what is in this folder.
    fn vend(&self, path: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
        command
            .arg("--data-dir")
            .arg(self.data())
            .arg("--config")
            .arg(self.0.path().join("config.toml"))
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn ran(&self, path: &Path, args: &[&str], input: &str) -> Output {
        let mut child = self.vend(path).args(args).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // One that reads nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await.unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const ABOUT: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

#[tokio::test]
async fn words_are_shown_once_kept_privately_and_never_lost() {
    let home = Home::new();
    let nowhere = home.0.path().join("nothing");
    let made = home.ran(&nowhere, &["spark", "create"], "").await;
    assert!(made.status.success(), "{}", text(&made.stderr));
    let words = text(&made.stdout);
    assert_eq!(words.split_whitespace().count(), 12);
    assert_eq!(home.words(), words);
    assert!(text(&made.stderr).contains("Write them down"));
    assert!(!text(&made.stderr).contains(words.trim()));
    let mode = |name: &str| std::fs::metadata(home.data().join(name)).unwrap().mode() & 0o777;
    assert_eq!(mode("spark.words"), 0o600);

    for args in [["spark", "create"], ["spark", "restore"]] {
        let again = home.ran(&nowhere, &args, ABOUT).await;
        assert_eq!(again.status.code(), Some(1));
        assert!(
            text(&again.stderr).contains("--force"),
            "{}",
            text(&again.stderr)
        );
        assert_eq!(home.words(), words);
    }

    let restored = home
        .ran(
            &nowhere,
            &["spark", "restore", "--force"],
            &format!(" {}\n", ABOUT.to_uppercase()),
        )
        .await;
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert!(restored.stdout.is_empty());
    assert_eq!(home.words().trim(), ABOUT);
    let aside = std::fs::read_to_string(home.data().join("spark.words.1")).unwrap();
    assert_eq!(aside, words);
    assert_eq!(mode("spark.words.1"), 0o600);
}

#[tokio::test]
async fn words_that_do_not_fit_are_refused() {
    let home = Home::new();
    let nowhere = home.0.path().join("nothing");
    for (input, why) in [
        (ABOUT.replace("about", "zoo"), "don't fit together"),
        ("abandon about".to_owned(), "12, 15, 18, 21 or 24"),
        (String::new(), "nothing was given"),
    ] {
        let refused = home.ran(&nowhere, &["spark", "restore"], &input).await;
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused.stderr);
        assert!(said.contains(why), "{said}");
        assert!(!said.contains("zoo") && !said.contains("abandon"), "{said}");
        assert!(!home.data().join("spark.words").exists());
    }
    let argument = home
        .ran(&nowhere, &["spark", "restore", "abandon"], "")
        .await;
    assert_eq!(argument.status.code(), Some(2));
}

/// A program of this name that does this.
fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn install_says_in_one_line_what_is_missing() {
    let home = Home::new();
    let path = tempfile::tempdir().unwrap();
    let install = async || {
        let out = home.ran(path.path(), &["spark", "install"], "").await;
        assert_eq!(out.status.code(), Some(1));
        let said = text(&out.stderr);
        said.lines().last().unwrap().to_owned()
    };
    assert!(
        install()
            .await
            .contains("Spark needs Node 18 or newer, and there is no `node`")
    );
    program(path.path(), "node", "echo v16.20.2");
    assert!(install().await.contains("this is v16.20.2"));
    program(path.path(), "node", "echo v20.20.2");
    assert!(install().await.contains("there is no `npm` on the path"));
    program(
        path.path(),
        "npm",
        "echo \"npm error code E404\" >&2; exit 1",
    );
    assert_eq!(
        install().await,
        "vend: npm could not install the helper: npm error code E404"
    );
    // npm is content, and the helper says nothing.
    program(path.path(), "npm", "exit 0");
    assert!(install().await.contains("the Spark helper ended"));
    let address = home.ran(path.path(), &["spark", "address"], "").await;
    assert_eq!(
        text(&address.stderr),
        "vend: the Spark helper is not installed: run `vend spark install`\n"
    );
}

#[tokio::test]
async fn the_doctor_names_each_thing_that_spark_needs_and_asks_nobody_meanwhile() {
    let home = Home::new();
    let path = tempfile::tempdir().unwrap();
    std::fs::write(
        home.0.path().join("config.toml"),
        "[nostr]\nrelays = [\"ws://127.0.0.1:1\"]\n[[endpoint]]\nname = \"tiny\"\nkind = \"builtin\"\n",
    )
    .unwrap();
    let rows = async || {
        let out = home.ran(path.path(), &["doctor", "--json"], "").await;
        let sheet: Value = serde_json::from_slice(&out.stdout).unwrap();
        let checks = sheet["checks"].as_array().unwrap().clone();
        let wallet = checks
            .into_iter()
            .filter(|check| check["check"] == "wallet");
        wallet
            .map(|check| {
                assert_eq!(check["target"], "spark");
                let word = |name: &str| check[name].as_str().unwrap().to_owned();
                (word("status"), word("fix"))
            })
            .collect::<Vec<_>>()
    };
    let fail = |fix: &str| ("fail".to_owned(), fix.to_owned());
    let ok = || ("ok".to_owned(), String::new());
    assert_eq!(
        rows().await,
        [
            fail("install Node 18 or newer, then vend spark install"),
            fail("vend spark install"),
            fail("vend spark create"),
        ]
    );
    program(path.path(), "node", "echo v16.20.2");
    let too_old = fail("install Node 18 or newer, then vend spark install");
    assert_eq!(rows().await[0], too_old);
    program(path.path(), "node", "echo v20.20.2");
    home.ran(path.path(), &["spark", "create"], "").await;
    assert_eq!(rows().await, [ok(), fail("vend spark install"), ok()]);
}
