//! Every command of docs/queues.md does what is said: curl, the worker in Python, `skidway queues`.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use skidway_tests::document::shell;
use skidway_tests::program::{binary, run};
use skidway_tests::{Document, Site, wait};

const URL: &str = "http://127.0.0.1:7070";

#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    let site = Site::new();
    let collector = site.collector().started();
    let (mut receipt, mut answers) = (None::<String>, Vec::<Value>::new());
    let blocks = Document::of("docs/queues.md").blocks("sh").concat();
    for command in blocks.lines() {
        let command = command.replace("RECEIPT", receipt.as_deref().unwrap_or("RECEIPT"));
        let said = shell(&command, &collector, &site.path(""));
        if command.starts_with("curl") {
            let answer: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command}: {error}"));
            receipt = answer["messages"][0]["receipt"].as_str().map(str::to_owned).or(receipt);
            answers.push(answer);
        }
    }
    assert_eq!(answers.len(), 7, "{answers:?}");
    assert_eq!(answers[2]["messages"][0]["value"], "resize 17.png");
    assert_eq!(answers[3]["results"][0]["result"], "done");
}

#[test]
fn the_worker_of_the_guide_works() {
    let site = Site::new();
    let collector = site.collector().started();
    let client = collector.client();
    assert_eq!(client.put("/v1/queues/jobs", &json!({})).status, 201);
    let code = Document::of("docs/queues.md").blocks("python").remove(0);
    let worker = site.write("worker.py", code.replace(URL, &collector.url()));
    let output = std::fs::File::create(site.path("worker.out")).unwrap();
    let mut working = Command::new("python3").arg("-u").arg(worker).stdout(Stdio::from(output)).spawn().unwrap();
    assert_eq!(client.post("/v1/topics/jobs/records", "text/plain", "one\ntwo\n").status, 200);
    let done = wait::within(wait::PATIENCE, || {
        let shown = client.get("/v1/queues/jobs").json();
        (shown["partitions"].as_array()?.iter().map(|it| it["start_offset"].as_u64().unwrap()).sum::<u64>() == 2)
            .then_some(())
    });
    working.kill().unwrap();
    working.wait().unwrap();
    let said = std::fs::read_to_string(site.path("worker.out")).unwrap();
    assert!(done.is_some() && said == "doing one\ndoing two\n", "{said}");
}

#[test]
fn queues_are_worked_by_hand() {
    let site = Site::new();
    let collector = site.collector().started();
    let url = collector.url();
    let skidway = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().chain(["--url", &url]).collect();
        let (code, said) = run("skidway", &words);
        assert_eq!(code, Some(0), "{words:?}: {said}");
        said
    };
    assert!(skidway("queues").contains("no queues"));
    assert!(skidway("queues put jobs --lease 1m --ordered-by-key").contains("lease: 1m"));
    assert_eq!(collector.client().post("/v1/topics/jobs/records", "text/plain", "one\ntwo\n").status, 200);
    let received: Value = serde_json::from_str(&skidway("queues receive jobs --max 2 --json")).unwrap();
    let receipt = |index: usize| received["messages"][index]["receipt"].as_str().unwrap().to_owned();
    assert!(skidway(&format!("queues extend jobs {}", receipt(0))).contains("done"));
    assert!(skidway(&format!("queues ack jobs {}", receipt(0))).contains("done"));
    assert!(skidway(&format!("queues nack jobs {} --dead --reason why", receipt(1))).contains("dead-lettered"));
    assert!(skidway("queues show jobs").contains("dead letters: 1 in jobs.dead"));
    assert!(skidway("queues redrive jobs").contains("redriven: 1"));
    assert!(skidway("queues receive jobs --wait 20s").contains("two"));
    skidway("queues delete jobs");
    let _built = binary("skidway");
}
