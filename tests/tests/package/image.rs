//! The image of `Containerfile`, built by buildah and run. Nothing is fetched: the images it begins with are made of the Debian root, `cargo` hands over
//! the programs under test, and `apt-get` looks whether what it is to install is there.

use std::path::Path;

use skidway_tests::container::Images;
use skidway_tests::program::{binary, free_port};
use skidway_tests::{Client, Site, tools, wait};

use super::{said_by, top};

/// Installs a program, in text, below a root.
fn install(root: &Path, name: &str, text: &str) {
    let path = root.join("usr/local/bin").join(name);
    std::fs::write(&path, text).unwrap();
    said_by("chmod", &["755", path.to_str().unwrap()]);
}

#[test]
fn the_image_is_built_and_its_programs_run_as_its_user() {
    let root = tools::folder("SKIDWAY_DEBIAN_ROOT_IMAGE", "debian-root", &[]);
    let site = Site::new();
    let (images, port) = (Images::new(&site), free_port());
    let containerfile = top().join("Containerfile");
    let text = std::fs::read_to_string(&containerfile).unwrap();
    let bases: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next()).collect();
    let [rust, debian] = bases.try_into().unwrap();
    images.make(debian, "scratch", |to| {
        said_by("cp", &["-a", &format!("{}/.", root.display()), to.to_str().unwrap()]);
        install(to, "apt-get", "#!/bin/sh\n[ \"$1\" != install ] || dpkg --status ca-certificates\n");
    });
    images.make(rust, debian, |to| {
        for name in ["skidway-agent", "skidway-collector", "skidway"] {
            said_by("install", &["-D", binary(name).to_str().unwrap(), to.join("built").join(name).to_str().unwrap()]);
        }
        let release = "[ \"$1 $2 $3\" = 'build --locked --release' ]";
        install(to, "cargo", &format!("#!/bin/sh\n{release} && mkdir -p target && mv /built target/release\n"));
    });
    let context = site.text("context");
    said_by("sh", &["-c", &format!("mkdir {context}; git -C {} archive HEAD | tar -x -C {context}", top().display())]);
    let file = containerfile.to_str().unwrap();
    images.run(&["build", "--pull-never", "--format", "docker", "--tag", "skidway", "--file", file, &context]);

    let container = images.run(&["from", "--pull-never", "skidway"]);
    let told = |what: &str| images.run(&["inspect", "--format", &format!("{{{{{what}}}}}"), &container]);
    assert_eq!(told(".OCIv1.Config.User"), "7070:7070");
    let command = ["skidway-collector", "run", "--config", "/etc/skidway/collector.toml"];
    assert_eq!(told(".OCIv1.Config.Cmd"), format!("[{}]", command.join(" ")));
    assert!(told(".Docker.Config.Healthcheck.Test").contains("skidway --url http://127.0.0.1:7070 topics"));
    let listen = format!("SKIDWAY_COLLECTOR__HTTP__LISTEN=127.0.0.1:{port}");
    let _collector = images.start(&container, &listen, &command, &site.path("collector.log"));
    let client = Client::new(format!("http://127.0.0.1:{port}"));
    wait::until("the collector is ready", || client.try_get("/readyz", &[]).filter(|answer| answer.status == 200));
    assert_eq!(client.post("/v1/topics/t/records", "text/plain", "line\n").status, 200);
    let inside = |script: &str| images.run(&["run", &container, "--", "sh", "-c", script]);
    assert_eq!(inside(&format!("skidway --url http://127.0.0.1:{port} tail t --from earliest")), "line");
    assert_eq!(inside("id -u; stat -c %u /var/lib/skidway-agent /etc/skidway/agent.toml"), "7070\n7070\n0");
    inside("skidway-agent check --config /etc/skidway/agent.toml");
}
