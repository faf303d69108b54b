//! TLS on the collector's port: who gets in, certificates exchanged while connections go on, what is refused and how it is told.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use skidway_tests::document::shell;
use skidway_tests::program::{binary, run, run_with};
use skidway_tests::tls::{Authority, Issued};
use skidway_tests::verify::assert_delivered;
use skidway_tests::wait::PATIENCE;
use skidway_tests::writer::Writer;
use skidway_tests::{Agent, Client, Collector, Document, Site, topic, wait};

/// Prepares an agent that follows `logs` into topic app, with these files of `[collector.tls]`.
fn agent(site: &Site, collector: &Collector, [ca, cert, key]: &[PathBuf; 3]) -> Agent {
    let tls = format!("[collector.tls]\nca_file = {ca:?}\ncert_file = {cert:?}\nkey_file = {key:?}");
    site.agent("web-1", &collector.url()).with(&tls).follows(&site.text("logs/*.log*"), "app")
}

/// Waits until a program has said these words.
#[track_caller]
fn says(mut said: impl FnMut() -> String, words: &str) {
    wait::until(&format!("it says {words:?}"), || said().contains(words).then_some(()));
}

fn metric(client: &Client, name: &str) -> Option<f64> {
    let text = client.get("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Asks for certificates of clients of this authority.
fn required(ca: &str) -> String {
    format!("client_auth = \"required\"\nclient_ca_file = {ca:?}")
}

#[test]
fn an_agent_with_a_certificate_ships_and_nobody_without_one_gets_in() {
    let (site, authority) = (Site::new(), Authority::new());
    let lines = required(&site.text("ca.pem"));
    let collector = site.collector().with_tls(&site, &authority, &lines, Some(authority.issue("reader"))).started();
    let files = authority.equip(&site);
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 4);
    let mut agent = agent(&site, &collector, &files).started();
    writer.write(500);
    let stranger = Client::trusting(collector.url(), &authority.pem, None);
    assert!(stranger.try_get("/healthz", &[]).is_none(), "no certificate");
    let of_another = Client::trusting(collector.url(), &authority.pem, Some(&Authority::new().issue("web-1")));
    assert!(of_another.try_get("/healthz", &[]).is_none(), "a certificate of an unknown authority");
    let ended = Client::trusting(collector.url(), &authority.pem, Some(&authority.issue_ended("web-1")));
    assert!(ended.try_get("/healthz", &[]).is_none(), "a certificate out of date");
    let client = collector.client();
    assert_eq!(metric(&client, "skidway_tls_handshake_failures_total{reason=\"no-certificate\"}"), Some(1.0));
    assert_eq!(metric(&client, "skidway_tls_handshake_failures_total{reason=\"bad-certificate\"}"), Some(2.0));
    assert!(metric(&client, "skidway_tls_certificate_not_after_seconds").is_some_and(|at| at > 4e9));
    assert_delivered(&collector, &mut agent, writer);
}

#[test]
fn an_agent_that_knows_another_authority_says_so_and_delivers_once_it_is_mended() {
    let (site, authority) = (Site::new(), Authority::new());
    let collector = site.collector().with_tls(&site, &authority, "", None).started();
    let files = authority.equip(&site);
    site.write("ca.pem", Authority::new().pem);
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 4);
    let mut agent = agent(&site, &collector, &files);
    agent.start();
    writer.write(500);
    says(|| agent.program().said(), "name the authority's certificate with collector.tls.ca_file");
    site.write("ca.pem", &authority.pem);
    writer.write(500);
    assert_delivered(&collector, &mut agent, writer);
}

#[test]
fn a_machine_without_any_authority_ships_by_plain_http_and_is_told_what_https_needs() {
    let site = Site::new();
    let collector = site.collector().started();
    let nowhere = site.text("nowhere");
    let variables = [("SSL_CERT_FILE", nowhere.as_str()), ("SSL_CERT_DIR", nowhere.as_str())];
    let assigned = variables.map(|(name, value)| format!("{name}={value}"));
    let without = |url: &str| {
        let agent = site.agent("web-1", url).follows(&site.text("logs/*.log"), "app");
        agent.under(["env", &assigned[0], &assigned[1]])
    };
    site.append("logs/a.log", "one\n");
    let agent = without(&collector.url()).started();
    topic::wait_for(&collector.client(), "app", 1);
    let (code, said) = run_with("skidway-agent", &["status", "--url", &agent.admin_url()], &variables);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run_with("skidway", &["--url", &collector.url(), "topics"], &variables);
    assert!(code == Some(0) && said.contains("app"), "{said}");
    let (code, said) = run_with("skidway", &["--url", "https://127.0.0.1:1", "topics"], &variables);
    assert!(code == Some(1) && said.contains("ca-certificates") && said.contains("--ca-file"), "{said}");
    drop(agent);
    let mut agent = without("https://127.0.0.1:1");
    agent.start();
    assert_eq!(agent.program().exit_within(PATIENCE).unwrap().code(), Some(1));
    let said = agent.program().said();
    assert!(said.contains("ca-certificates") && said.contains("collector.tls.ca_file"), "{said}");
}

#[test]
fn an_agent_whose_certificate_is_refused_says_so_and_delivers_once_it_is_mended() {
    let (site, authority) = (Site::new(), Authority::new());
    let lines = required(&site.text("ca.pem"));
    let collector = site.collector().with_tls(&site, &authority, &lines, Some(authority.issue("reader"))).started();
    let files = authority.write(&site, "agent", &Authority::new().issue("web-1"));
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 4);
    let mut agent = agent(&site, &collector, &files);
    agent.start();
    writer.write(500);
    says(|| agent.program().said(), "the collector refuses the certificate of collector.tls.cert_file");
    authority.write(&site, "agent", &authority.issue("web-1"));
    assert_delivered(&collector, &mut agent, writer);
}

#[test]
fn a_certificate_out_of_date_is_told_on_both_sides_and_renewed_without_a_restart() {
    let (site, authority) = (Site::new(), Authority::new());
    let mut collector = site.collector().with_tls(&site, &authority, "", None);
    authority.write(&site, "server", &authority.issue_ended("127.0.0.1"));
    // It is never ready for a client that looks at its certificate.
    let config = site.text("collector.toml");
    collector.launch();
    says(|| collector.program().said(), "the certificate is out of date, and clients refuse it");
    assert_eq!(run("skidway-collector", &["check", "--config", &config]).0, Some(0), "it may be renewed while it runs");
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 4);
    let mut agent = agent(&site, &collector, &authority.equip(&site));
    agent.start();
    writer.write(500);
    says(|| agent.program().said(), "put a renewed one into its http.tls.cert_file");
    authority.equip_server(&site);
    collector.program().hang_up();
    assert_delivered(&collector, &mut agent, writer);
}

#[test]
fn a_stream_goes_on_while_the_certificate_is_exchanged() {
    let (site, old, new) = (Site::new(), Authority::new(), Authority::new());
    let mut collector = site.collector().with_tls(&site, &old, "reload_interval = \"1s\"", None).started();
    let before = collector.client();
    before.post("/v1/topics/t/records?partition=0", "text/plain", "one\n");
    let stream = before.stream("/v1/topics/t/stream?from=earliest", "text/event-stream", &[]);
    assert_eq!(stream.next_record(PATIENCE).unwrap().json()["value"], "one");
    let after = Client::trusting(collector.url(), &new.pem, None);
    assert!(after.try_get("/healthz", &[]).is_none());
    // Nobody tells it: it looks for itself.
    new.equip_server(&site);
    wait::until("the new certificate is shown", || after.try_get("/healthz", &[]));
    after.post("/v1/topics/t/records?partition=0", "text/plain", "two\n");
    assert_eq!(stream.next_record(PATIENCE).unwrap().json()["value"], "two");
    let of_old = Client::trusting(collector.url(), &old.pem, None);
    assert!(of_old.try_get("/healthz", &[]).is_none(), "new connections get the new one");
    // And told so, it does at once.
    old.equip_server(&site);
    collector.program().hang_up();
    wait::until("the old certificate is shown", || of_old.try_get("/healthz", &[]));
    of_old.post("/v1/topics/t/records?partition=0", "text/plain", "three\n");
    assert_eq!(stream.next_record(PATIENCE).unwrap().json()["value"], "three");
}

#[test]
fn bad_new_certificates_change_nothing_and_are_told() {
    let (site, authority) = (Site::new(), Authority::new());
    let mut collector = site.collector().with_tls(&site, &authority, "", None).started();
    let client = collector.client();
    let good = authority.issue("127.0.0.1");
    let ended = authority.issue_ended("127.0.0.1");
    let cases = [
        (Issued { certificate: "nonsense".into(), ..good.clone() }, "holds no certificate"),
        (Issued { key: authority.issue("127.0.0.1").key, ..good.clone() }, "is not the key of the certificate in"),
        (Issued { key: String::new(), ..good.clone() }, "holds no private key"),
        (ended, "out of date since 2020-01-01T00:00:00Z"),
    ];
    for (at, (issued, words)) in (1..).zip(cases) {
        authority.write(&site, "server", &issued);
        collector.program().hang_up();
        says(|| collector.program().said(), words);
        let failures = || metric(&client, "skidway_tls_reload_failures_total");
        wait::until("the failure is counted", || (failures() == Some(f64::from(at))).then_some(()));
        let anew = Client::trusting(collector.url(), &authority.pem, None);
        assert_eq!(anew.get("/healthz").status, 200, "{words}");
    }
    assert!(!collector.program().said().contains(good.key.lines().nth(1).unwrap()), "no part of a key is shown");
    authority.write(&site, "server", &good);
    collector.program().hang_up();
    says(|| collector.program().said(), "new connections get the certificates that were read");
}

#[test]
fn a_revoked_certificate_is_refused_from_the_next_connection_on() {
    let (site, authority) = (Site::new(), Authority::new());
    let revoked = authority.issue("web-1");
    let crl = site.write("crl.pem", authority.revoke(&[]));
    let lines = format!("{}\nclient_crl_file = {crl:?}", required(&site.text("ca.pem")));
    let mut collector = site.collector().with_tls(&site, &authority, &lines, Some(authority.issue("reader"))).started();
    let client = |own| Client::trusting(collector.url(), &authority.pem, Some(own));
    let before = client(&revoked);
    assert_eq!(before.get("/healthz").status, 200);
    let (again, other) = (client(&revoked), collector.client());
    site.write("crl.pem", authority.revoke(&[&revoked]));
    collector.program().hang_up();
    says(|| collector.program().said(), "new connections get the certificates that were read");
    assert!(again.try_get("/healthz", &[]).is_none());
    assert_eq!(other.get("/healthz").status, 200, "others are let in");
    assert_eq!(metric(&other, "skidway_tls_handshake_failures_total{reason=\"revoked-certificate\"}"), Some(1.0));
}

/// Sends bytes to the collector and gives all that comes back until it closes.
fn exchange(collector: &Collector, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", collector.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => answer,
    }
}

/// Makes the first message of a client that knows no version of TLS above this one (3, 2 is TLS 1.1).
pub(crate) fn hello(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]); // Random.
    body.extend([0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]); // No session, two ciphers, no compression.
    // Groups, the form of points, and signatures, without which no elliptic curve is spoken.
    body.extend([0, 22, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut message = vec![1, 0, 0, body.len() as u8];
    message.extend(body);
    [&[22, 3, 1, 0, message.len() as u8], &message[..]].concat()
}

#[test]
fn plain_http_old_versions_and_nonsense_get_a_clear_end_on_a_port_of_tls() {
    let (site, authority) = (Site::new(), Authority::new());
    let collector = site.collector().with("header_timeout = \"1s\"").with_tls(&site, &authority, "", None).started();
    let request = "POST /v1/topics/t/records HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nline";
    let answer = String::from_utf8(exchange(&collector, request.as_bytes())).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("tls-required") && answer.contains("https://"),
        "{answer}"
    );
    // TLS 1.1, 1.0 and SSL 3: an alert (21), fatal (2), of the version (70).
    for version in [[3, 2], [3, 1], [3, 0]] {
        let answer = exchange(&collector, &hello(version));
        assert_eq!((answer.first(), answer.get(5..7)), (Some(&21), Some(&[2, 70][..])), "{version:?}: {answer:?}");
    }
    // Nonsense, and nothing at all for longer than header_timeout.
    assert!(!exchange(&collector, b"\x80nonsense").starts_with(b"HTTP"));
    assert_eq!(exchange(&collector, b""), b"");
    assert_eq!(exchange(&collector, &hello([3, 3])[..20]), b"", "half a hello");
}

#[test]
fn tls_gets_a_clear_end_on_a_plain_port() {
    let site = Site::new();
    let collector = site.collector().started();
    let answer = exchange(&collector, &hello([3, 3]));
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    let url = format!("https://127.0.0.1:{}", collector.port());
    let (code, said) = run("skidway", &["--url", &url, "topics"]);
    assert!(code == Some(1) && said.contains("does not speak TLS; use http:// in --url"), "{said}");
}

#[test]
fn clients_that_say_nothing_keep_nobody_else_waiting() {
    let (site, authority) = (Site::new(), Authority::new());
    let collector = site.collector().with("connections_max = 100").with_tls(&site, &authority, "", None).started();
    let connect = |_| TcpStream::connect(("127.0.0.1", collector.port())).unwrap();
    // More than there is room for, and none begins its handshake: who has been silent longest makes room.
    let _silent: Vec<TcpStream> = (0..110).map(connect).collect();
    for _ in 0..20 {
        assert_eq!(Client::trusting(collector.url(), &authority.pem, None).get("/healthz").status, 200);
    }
}

#[test]
fn an_agent_that_speaks_plain_http_loses_nothing() {
    let (site, authority) = (Site::new(), Authority::new());
    let collector = site.collector().with_tls(&site, &authority, "", None).started();
    let url = collector.url().replace("https", "http");
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 4);
    let mut plain = site.agent("web-1", &url).follows(&site.text("logs/*.log*"), "app");
    plain.start();
    writer.write(500);
    says(|| plain.program().said(), "this port speaks TLS");
    plain.program().stop();
    drop(plain);
    let mut agent = agent(&site, &collector, &authority.equip(&site)).started();
    assert_delivered(&collector, &mut agent, writer);
}

#[test]
fn the_command_line_speaks_tls_and_says_what_is_wrong() {
    let (site, authority) = (Site::new(), Authority::new());
    let lines = required(&site.text("ca.pem"));
    let collector = site.collector().with_tls(&site, &authority, &lines, Some(authority.issue("reader"))).started();
    collector.client().post("/v1/topics/orders/records", "text/plain", "one\n");
    let [ca, cert, key] = authority.equip(&site).map(|path| path.display().to_string());
    let url = collector.url();
    let allow = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    allow(0o600);
    let skidway = |args: &[&str]| run("skidway", &[&["--url", &url][..], args].concat());
    let all = ["--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    assert_eq!(skidway(&[&["tail", "orders", "--from", "earliest"][..], &all].concat()), (Some(0), "one\n".to_owned()));
    let variables =
        [("SKIDWAY_URL", &url), ("SKIDWAY_CA_FILE", &ca), ("SKIDWAY_CERT_FILE", &cert), ("SKIDWAY_KEY_FILE", &key)];
    let variables = variables.map(|(name, value)| (name, value.as_str()));
    assert!(run_with("skidway", &["topics"], &variables).1.contains("orders"));

    allow(0o644);
    let (code, said) = skidway(&[&["topics"][..], &all].concat());
    assert!(code == Some(0) && said.contains("every user of this machine can read"), "{said}");

    let refused = |args: &[&str], words: &str| {
        let (code, said) = skidway(&[&["topics"][..], args].concat());
        assert!(code == Some(1) && said.contains(words), "{args:?}: {words} in {said}");
    };
    refused(&[], "name the authority's certificate with --ca-file");
    refused(&all[..2], "lets in only who shows a certificate; set --cert-file and --key-file");
    refused(&["--ca-file", "/nonexistent"], "--ca-file /nonexistent: No such file");
    refused(&["--ca-file", &key], "--ca-file");
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let other = Command::new(binary("skidway")).args(["--url", &elsewhere, "topics"]).args(all).output().unwrap();
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("for other names than the one in --url"), "{said}");
}

#[test]
fn a_port_that_other_machines_reach_is_not_opened_by_mistake() {
    let site = Site::new();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let toml = format!("[collector]\ndata_dir = {:?}\n[http]\nlisten = {listen:?}\n", site.text("data"));
        let path = site.write("collector.toml", toml).display().to_string();
        for command in ["check", "run"] {
            let (code, said) = run("skidway-collector", &[command, "--config", &path]);
            assert_eq!(code, Some(78), "{said}");
            for words in ["http.tls.cert_file", "http.allow_unencrypted = true", "access.allow_unauthenticated = true"]
            {
                assert!(said.contains(words), "{words} in {said}");
            }
        }
        let (code, said) = run("skidway", &["up", "--listen", listen, "--data-dir", &site.text("up")]);
        assert!(code == Some(64) && said.contains("--allow-unencrypted --allow-unauthenticated"), "{said}");
    }
    assert!(!site.path("data").exists() && !site.path("up").exists(), "nothing was opened");
}

#[test]
fn files_that_cannot_be_used_are_named_before_anything_is_opened() {
    let (site, authority) = (Site::new(), Authority::new());
    let [ca, cert, key] = authority.equip_server(&site).map(|path| path.display().to_string());
    let empty = site.write("empty.pem", "").display().to_string();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = site.write("encrypted.pem", encrypted).display().to_string();
    let tls = |cert: &str, key: &str, lines: &str| {
        let toml = format!(
            "[collector]\ndata_dir = {:?}\n[http.tls]\ncert_file = {cert:?}\nkey_file = {key:?}\n{lines}\n",
            site.text("data")
        );
        let path = site.write("collector.toml", toml).display().to_string();
        run("skidway-collector", &["check", "--config", &path])
    };
    assert_eq!(tls(&cert, &key, "").0, Some(0));
    assert_eq!(tls(&cert, &key, &required(&ca)).0, Some(0));
    let cases = [
        (
            tls("/nonexistent", &key, ""),
            "collector.toml:4: http.tls.cert_file: /nonexistent: cannot be read by the collector's user: No such file",
        ),
        (tls(&empty, &key, ""), "holds no certificate; expected -----BEGIN CERTIFICATE-----"),
        (tls(&cert, &cert, ""), "collector.toml:5: http.tls.key_file: "),
        (tls(&cert, &encrypted, ""), "is encrypted; `openssl pkey"),
        (tls(&cert, "credential:key", ""), "LoadCredential=key:"),
        (tls(&cert, &key, "client_auth = \"required\""), "client_ca_file: is missing"),
        (tls(&cert, &key, &format!("client_ca_file = {ca:?}")), "is of no use while client_auth is \"none\""),
        (tls(&cert, &key, &required(&empty)), "http.tls.client_ca_file: "),
        (tls(&cert, &key, "client_auth = \"maybe\""), "expected \"none\" or \"optional\" or \"required\""),
    ];
    for ((code, said), words) in cases {
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(words), "{words} in {said}");
    }
    assert!(wait::within(Duration::ZERO, || site.path("data").exists().then_some(())).is_none(), "nothing was opened");
}

#[test]
fn the_commands_of_the_page_about_tls_do_what_it_says() {
    let site = Site::new();
    let page = Document::of("docs/tls.md");
    let [make, ask, revoke] = &page.blocks("sh")[..] else { panic!("three blocks") };
    // Nothing is asked by the first.
    shell(make, &site.collector(), &site.path(""));
    let settings = &page.blocks("toml")[0].replace("/etc/skidway", &site.text(""));
    let ca = std::fs::read_to_string(site.path("ca.pem")).unwrap();
    let mut collector = site.collector().with(settings).trusting(&ca, None).started();
    let agent_settings =
        page.blocks("toml")[1].split_once("[collector.tls]").unwrap().1.replace("/etc/skidway", &site.text(""));
    let agent = site.agent("web-1", &collector.url()).with(&format!("[collector.tls]{agent_settings}"));
    site.append("logs/a.log", "line\n");
    let mut agent = agent.follows(&site.text("logs/*.log"), "app").started();
    topic::wait_for(&collector.client(), "app", 1);
    let said = shell(ask, &collector, &site.path(""));
    assert!(said.contains("\"log_id\"") && said.matches("app").count() == 2, "{said}");
    agent.program().stop();

    shell(revoke, &collector, &site.path(""));
    collector = collector.with(&format!("client_crl_file = {:?}", site.text("crl.pem")));
    collector.program().stop();
    collector.start();
    agent.start();
    says(|| agent.program().said(), "and not revoked");
}
