//! Hosts that are well, ill, and no C500 hosts at all.

use std::path::{Path, PathBuf};

use super::{super::render, *};
use crate::{
    cli::doctor::facts::{
        Build, Disk, DockerFacts, FolderState, ImageFacts, Kubernetes, Memory, ModelFolder,
    },
    device::{self, host::HostTraces},
    manifest::Catalogue,
};

const C500: &str = "c500_maca2.33_vllm0.8.5";

fn stack(name: &str) -> LoadedStack {
    Catalogue::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stack(name)
        .unwrap()
}

/// A C500 host as the first stack wants it.
fn well() -> Facts {
    let image = &stack(C500).stack.docker.unwrap().image;
    Facts {
        device: Ok(device::parse_saved(include_str!("../../../device/fixtures/table-2.2.8.txt")).unwrap()),
        traces: HostTraces {
            pci_cards: vec!["0000:0e:00.0".to_owned()],
            module_version: Some("3.0.11".to_owned()),
            has_mxcd: true,
            dri_nodes: vec!["renderD128".to_owned()],
            maca_version: Some("3.1.0.14".to_owned()),
        },
        docker: Ok(docker("1.47")),
        images: vec![ImageFacts {
            name: image.clone(),
            present: Ok(true),
            build: None,
        }],
        missing_devices: vec![],
        disks: vec![
            disk("images", 300.0),
            disk("weights", 700.0),
            disk("records", 40.0),
        ],
        memory: Some(Memory {
            total_gib: 512.0,
            available_gib: 480.0,
        }),
        open_files: 1_048_576,
        locked_bytes: u64::MAX,
        loopback: Ok(()),
        models: vec![model(
            "qwen3_32b",
            FolderState::Complete(PathBuf::from("/models/Qwen3-32B")),
        )],
        broken_manifests: vec![],
        kubernetes: Kubernetes {
            has_kubectl: true,
            config: Some(PathBuf::from("/root/.kube/config")),
        },
    }
}

/// A laptop: no card, no daemon, little of everything.
fn laptop() -> Facts {
    Facts {
        device: Err("no cards found: looked for /opt/mxdriver/bin/mx-smi".to_owned()),
        traces: HostTraces::default(),
        docker: Err("no daemon answers: no such file".to_owned()),
        images: vec![],
        disks: vec![disk("records", 0.5)],
        memory: Some(Memory {
            total_gib: 8.0,
            available_gib: 2.0,
        }),
        open_files: 256,
        locked_bytes: 65536,
        models: vec![model(
            "qwen3_32b",
            FolderState::Absent(PathBuf::from("/models/Qwen3-32B")),
        )],
        kubernetes: Kubernetes::default(),
        ..well()
    }
}

fn docker(api: &str) -> DockerFacts {
    DockerFacts {
        version: "27.5.1".to_owned(),
        api: api.to_owned(),
        folder: None,
    }
}

fn disk(purpose: &'static str, free_gib: f64) -> Disk {
    Disk {
        purpose,
        path: Path::new("/data").join(purpose),
        free_gib,
        total_gib: 1000.0,
    }
}

fn model(name: &str, state: FolderState) -> ModelFolder {
    ModelFolder {
        name: name.to_owned(),
        state,
    }
}

fn worst(checks: &[Check]) -> State {
    checks.iter().map(|check| check.state).max().unwrap()
}

#[test]
fn a_host_that_is_well() {
    let checks = checks(&well(), Some(&stack(C500)));
    assert_eq!(worst(&checks), State::Ok);
    insta::assert_snapshot!("well", render(&checks));
}

#[test]
fn a_host_after_an_upgrade_that_is_ill_everywhere() {
    let facts = Facts {
        device: Ok(device::parse_saved(include_str!("../../../device/fixtures/table-2.3.1.txt")).unwrap()),
        docker: Ok(docker("1.39")),
        images: vec![ImageFacts {
            name: "gone:1".to_owned(),
            present: Ok(false),
            build: None,
        }],
        missing_devices: vec!["/dev/mxcd".to_owned()],
        disks: vec![disk("images", 12.0)],
        memory: Some(Memory {
            total_gib: 64.0,
            available_gib: 60.0,
        }),
        open_files: 1024,
        loopback: Err("Cannot assign requested address".to_owned()),
        models: vec![
            model(
                "a",
                FolderState::Incomplete(PathBuf::from("/models/a"), "its config.json"),
            ),
            model(
                "b",
                FolderState::Unknown("the path `${GONE}/b` uses ${GONE}, which is not set".to_owned()),
            ),
        ],
        broken_manifests: vec!["c".to_owned()],
        ..well()
    };
    let checks = checks(&facts, Some(&stack(C500)));
    assert_eq!(worst(&checks), State::Wrong);
    insta::assert_snapshot!("ill", render(&checks));
}

#[test]
fn a_laptop_lacks_nothing_that_is_required_of_it() {
    insta::assert_snapshot!("laptop-no-stack", render(&checks(&laptop(), None)));
    insta::assert_snapshot!(
        "laptop-simulator",
        render(&checks(&laptop(), Some(&stack("simulator_c500"))))
    );
    insta::assert_snapshot!("laptop-c500", render(&checks(&laptop(), Some(&stack(C500)))));
}

#[test]
fn a_stack_that_builds_its_image_needs_neither_image_nor_weights_yet() {
    let cpu = stack("cpu_vllm0.12.0");
    let image = |program_exists| ImageFacts {
        name: "harness-vllm-cpu:0.12.0".to_owned(),
        present: Ok(false),
        build: Some(Build {
            command: "ci/images/build 0.12.0".to_owned(),
            program_exists,
        }),
    };
    let state = |program_exists| {
        let facts = Facts {
            docker: Ok(docker("1.47")),
            images: vec![image(program_exists)],
            ..laptop()
        };
        let all = checks(&facts, Some(&cpu));
        let of = |name: &str| {
            all.iter()
                .find(|check| check.name.starts_with(name))
                .unwrap()
                .state
        };
        (of("image"), of("model"), of("cards"))
    };
    assert_eq!(state(true), (State::Ok, State::Ok, State::Ok));
    assert_eq!(state(false).0, State::Wrong);
}

#[test]
fn cards_of_others_are_no_fault_while_one_is_free() {
    let table = include_str!("../../../device/fixtures/table-2.2.12-slices.txt");
    let list = include_str!("../../../device/fixtures/list.txt");
    let cards = |text: &str| {
        let facts = Facts {
            device: Ok(device::parse_saved(text).unwrap()),
            ..well()
        };
        checks(&facts, Some(&stack(C500)))
            .into_iter()
            .find(|check| check.name == "cards")
            .unwrap()
    };
    // Card 0 is in use and card 1 is hidden: none is left.
    let none = cards(&format!("{table}{list}"));
    assert_eq!(none.state, State::Wrong, "{none:?}");
    // Without the process and its memory, card 0 is free: what others have on it does not count.
    let idle = table
        .replace("11840/32000", "    0/32000")
        .replace("|  0                      4711", "|  x");
    let one = cards(&format!("{idle}{list}"));
    assert_eq!(one.state, State::Warning, "{one:?}");
    assert!(one.found.starts_with("1 of 2"), "{one:?}");
}
