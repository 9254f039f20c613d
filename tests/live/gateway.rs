//! OpenAI's own clients for Python and Node against `vend demo --gateway`: the line that it prints works as it stands.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::stage::{here, ready, tools};

fn client(program: &str, script: &str, arguments: &[&str]) -> Value {
    let output = Command::new(program)
        .arg(here().join(script))
        .args(arguments)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {words}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn judge(name: &str, seen: &Value) {
    let models = seen["models"].as_array().unwrap();
    assert!(models.contains(&json!("auto")), "{name}: {seen}");
    let plain = &seen["plain"];
    assert!(
        !plain["text"].as_str().unwrap().is_empty(),
        "{name}: {seen}"
    );
    assert_eq!(plain["reason"], "stop", "{name}: {seen}");
    assert_eq!(plain["sats"], 10, "{name}: {seen}");
    assert_eq!(plain["job"].as_str().unwrap().len(), 64);
    let usage = &plain["usage"];
    let sum =
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum, "{name}: {seen}");
    assert!(
        !seen["stream"]["text"].as_str().unwrap().is_empty(),
        "{name}: {seen}"
    );
    assert_eq!(seen["stream"]["reasons"], json!(["stop"]), "{name}: {seen}");
    assert!(seen["stream"]["total_tokens"].as_u64().unwrap() > 0);
    assert!(
        !seen["completion"].as_str().unwrap().is_empty(),
        "{name}: {seen}"
    );
    let errors = &seen["errors"];
    assert_eq!(
        errors["model"],
        json!(["NotFoundError", 404, "model_not_found"])
    );
    assert_eq!(
        errors["n"],
        json!(["BadRequestError", 400, "unsupported_parameter"])
    );
    assert_eq!(
        errors["key"],
        json!(["AuthenticationError", 401, "invalid_api_key"])
    );
}

#[test]
fn openai_s_own_clients_buy_through_the_demos_gateway() {
    if !ready(
        "openai_s_own_clients_buy_through_the_demos_gateway",
        &["openai"],
    ) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_vend"))
        .arg("--data-dir")
        .arg(folder.path())
        .args(["demo", "--gateway"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(demo.stdout.take().unwrap());
    let line = out
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("curl "));
    let line = line.expect("no line to ask with");
    // As a person would paste it.
    let pasted = Command::new("sh").args(["-c", &line]).output().unwrap();
    let answer: Value = serde_json::from_slice(&pasted.stdout).unwrap();
    assert_eq!(answer["object"], "chat.completion", "{answer}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let url = words
        .iter()
        .find(|word| word.starts_with("http://"))
        .unwrap();
    let base = url.strip_suffix("/chat/completions").unwrap();
    let key = words
        .iter()
        .find(|word| word.starts_with("sk-vend-"))
        .unwrap()
        .trim_end_matches('\'');
    let tools = tools().join("openai");
    let python = tools.join("bin/python");
    judge(
        "python",
        &client(python.to_str().unwrap(), "openai_client.py", &[base, key]),
    );
    judge(
        "node",
        &client(
            "node",
            "openai_client.mjs",
            &[base, key, tools.to_str().unwrap()],
        ),
    );
    demo.kill().unwrap();
    demo.wait().unwrap();
}
