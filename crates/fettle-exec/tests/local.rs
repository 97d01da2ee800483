//! The local backend with real processes: starts, deaths, stops, and servers that come back.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helper functions"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fettle_confine::{AttemptDir, AttemptGroup, ProcessIdentity, identify, is_alive};
use fettle_exec::{LocalConfig, LocalExecutor};
use fettle_model::{
    AttemptEvidence, AttemptExit, AttemptId, AttemptSpec, ExtractorRef, ExtractorSource, JobId,
    ManifestRef, ProcessExit, Resources, RowRanges,
};
use fettle_ports::executor::{Executor, ExecutorError, LogName, Observation};

const FIXTURE: &str = env!("CARGO_BIN_EXE_fettle-exec-fixture");
/// Long enough for a busy machine; a test that needs it has failed anyway.
const PATIENCE: Duration = Duration::from_secs(20);
const SIGKILL: i32 = 9;

/// A data folder with one attempt in it; whatever still runs at the end is killed.
struct Site {
    data: tempfile::TempDir,
    spec: AttemptSpec,
}

impl Site {
    fn new(entropy: u8) -> Self {
        let mut bytes = [entropy; 15];
        bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
        let job = JobId::from_entropy(bytes);
        Self {
            data: tempfile::tempdir().unwrap(),
            spec: spec(&job),
        }
    }

    fn id(&self) -> &AttemptId {
        &self.spec.attempt_id
    }

    fn dir(&self) -> AttemptDir {
        AttemptDir::new(self.data.path().join("attempts").join(self.id().as_str()))
    }

    fn executor(&self, mode: &str) -> LocalExecutor {
        let mut config = LocalConfig::new(self.data.path(), FIXTURE);
        config.leading_args = vec![mode.into()];
        config.stop_grace = Duration::from_millis(400);
        LocalExecutor::open(config).unwrap()
    }

    async fn started(&self, mode: &str) -> LocalExecutor {
        let executor = self.executor(mode);
        executor.start(&self.spec, "s3cret").await.unwrap();
        executor
    }

    async fn driver(&self) -> ProcessIdentity {
        let path = self.dir().driver();
        until("the driver has named itself", async || {
            ProcessIdentity::load(&path).unwrap()
        })
        .await
    }

    async fn pid_in(&self, file: &str) -> ProcessIdentity {
        let path = self.dir().path().join(file);
        let read = async || identify(fs::read_to_string(&path).ok()?.parse().ok()?).ok();
        until(file, read).await
    }

    async fn observe(&self, executor: &LocalExecutor) -> Observation {
        executor
            .observe(std::slice::from_ref(self.id()))
            .await
            .remove(0)
            .1
    }

    async fn ended(&self, executor: &LocalExecutor) -> (AttemptExit, AttemptEvidence) {
        until("the end is observed", async || {
            match self.observe(executor).await {
                Observation::Ended { exit, evidence, .. } => Some((exit, *evidence)),
                Observation::Running => None,
                other => panic!("unexpected: {other:?}"),
            }
        })
        .await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let dir = self.dir();
        for file in [dir.driver(), dir.spawned()] {
            if let Ok(Some(identity)) = ProcessIdentity::load(&file) {
                identity.send_kill();
            }
        }
        let Ok(Some(group)) = AttemptGroup::open(&dir.group()) else {
            return;
        };
        let deadline = Instant::now() + PATIENCE;
        while group.remove().is_err() && Instant::now() < deadline {
            group.kill_all().unwrap();
        }
    }
}

async fn until<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn spec(job: &JobId) -> AttemptSpec {
    AttemptSpec {
        attempt_id: AttemptId::of(job, 1),
        job_id: job.clone(),
        batch_id: "btch_1".parse().unwrap(),
        namespace_id: "ns_1".parse().unwrap(),
        tier_num: 0,
        control_url: "http://127.0.0.1:1".to_owned(),
        control_url_file: None,
        blob_base: "file:///nowhere".to_owned(),
        manifest: ManifestRef {
            key: "m".to_owned(),
            rows: 1,
            sizes: None,
            left_out: 0,
        },
        pending: RowRanges::default(),
        extractor: ExtractorRef {
            name: "text_extractor".to_owned(),
            version: "v1".to_owned(),
            parameters: serde_json::Map::new(),
        },
        extractor_source: ExtractorSource::Builtin,
        targets: Vec::new(),
        resources: Resources {
            num_cpus: 1.0,
            num_gpus: 0.0,
            memory_bytes: 64 << 20,
            requires_gpu: false,
            priority: 0,
        },
        model_dir: None,
        access: fettle_model::attempt::AccessPolicy::default(),
        row_timeout_ms: None,
    }
}

#[tokio::test]
async fn a_driver_that_finishes_is_seen_with_its_last_word_and_its_log() {
    let site = Site::new(1);
    let executor = site.executor("finish");
    assert_eq!(site.observe(&executor).await, Observation::Unknown);
    executor.start(&site.spec, "s3cret").await.unwrap();
    let (exit, evidence) = site.ended(&executor).await;
    assert_eq!(exit, AttemptExit::Finished);
    assert_eq!(
        evidence.driver_exit,
        Some(ProcessExit {
            code: Some(0),
            signal: None
        })
    );
    assert_eq!(evidence.version.as_deref(), Some("1"));
    assert_eq!(evidence.driver_log_tail, "driving");
    assert!(evidence.node.is_some_and(|node| !node.is_empty()));
    let counted = executor.confinement().counts_oom_kills();
    assert_eq!(evidence.attempt_memory.is_some(), counted);
}

#[tokio::test]
async fn the_token_is_private_and_nowhere_else() {
    let site = Site::new(2);
    let executor = site.started("wait").await;
    let driver = site.driver().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&site.dir().token()), 0o600);
    assert_eq!(mode(site.dir().path()), 0o700);
    assert_eq!(fs::read_to_string(site.dir().token()).unwrap(), "s3cret");
    for file in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{file}", driver.pid)).unwrap();
        assert!(
            !String::from_utf8_lossy(&bytes).contains("s3cret"),
            "{file}"
        );
    }
    let written: AttemptSpec =
        serde_json::from_slice(&fs::read(site.dir().spec()).unwrap()).unwrap();
    assert_eq!(written, site.spec);
    executor.stop(site.id()).await.unwrap();
    site.ended(&executor).await;
    executor.forget(site.id()).await.unwrap();
    assert!(
        !site.dir().token().exists(),
        "the secret goes with the attempt"
    );
}

#[tokio::test]
async fn a_killed_driver_is_seen_soon_with_its_signal() {
    let site = Site::new(3);
    let executor = site.started("wait").await;
    let driver = site.driver().await;
    assert_eq!(site.observe(&executor).await, Observation::Running);
    driver.send_kill();
    let killed = Instant::now();
    let (exit, evidence) = site.ended(&executor).await;
    let latency = killed.elapsed();
    assert_eq!(exit, AttemptExit::DriverDied);
    assert_eq!(
        evidence.driver_exit,
        Some(ProcessExit {
            code: None,
            signal: Some(SIGKILL)
        })
    );
    assert!(latency < Duration::from_secs(2), "took {latency:?}");
}

#[tokio::test]
async fn the_worker_of_a_killed_driver_is_gone_when_the_end_is_told() {
    let site = Site::new(4);
    let executor = site.started("with-worker").await;
    let driver = site.driver().await;
    let worker = site.pid_in("worker.pid").await;
    driver.send_kill();
    site.ended(&executor).await;
    assert!(!is_alive(&worker));
}

#[tokio::test]
async fn a_driver_that_fails_before_its_seat_leaves_its_log() {
    let site = Site::new(5);
    let executor = site.started("fail-early").await;
    let (exit, evidence) = site.ended(&executor).await;
    assert_eq!(exit, AttemptExit::DriverDied);
    assert_eq!(evidence.driver_exit.unwrap().code, Some(7));
    assert_eq!(evidence.driver_log_tail, "cannot even begin");
    executor.start(&site.spec, "s3cret").await.unwrap();
    let again = fs::read_to_string(site.dir().driver_err()).unwrap();
    assert_eq!(
        again, "cannot even begin\n",
        "an attempt that has ended is not started again"
    );
}

#[tokio::test]
async fn a_second_start_changes_nothing() {
    let site = Site::new(6);
    let executor = site.started("wait").await;
    executor.start(&site.spec, "s3cret").await.unwrap();
    let driver = site.driver().await;
    executor.start(&site.spec, "s3cret").await.unwrap();
    assert_eq!(listed(&executor).await, [(site.id().clone(), true)]);
    assert_eq!(site.driver().await, driver);
    let log = async || {
        Some(fs::read_to_string(site.dir().driver_err()).unwrap()).filter(|log| !log.is_empty())
    };
    assert_eq!(
        until("the driver has said something", log).await,
        "driving\n"
    );
}

/// The server died between starting the driver and writing that down, and the driver had not named itself yet.
#[tokio::test]
async fn a_second_driver_finds_the_lock_taken_and_is_not_the_end() {
    let site = Site::new(7);
    let executor = site.started("wait").await;
    let first = site.driver().await;
    let mut second = Command::new(FIXTURE)
        .args(["wait", "job", "--spec"])
        .arg(site.dir().spec())
        .spawn()
        .unwrap();
    assert_eq!(
        second.wait().unwrap().code(),
        Some(fettle_confine::ALREADY_RUNNING_EXIT_CODE)
    );
    assert_eq!(site.driver().await, first);
    assert_eq!(site.observe(&executor).await, Observation::Running);
}

#[tokio::test]
async fn a_driver_outlives_its_server_and_is_adopted_by_the_next() {
    let site = Site::new(8);
    let spec: PathBuf = site.data.path().join("given.json");
    fs::write(&spec, serde_json::to_vec(&site.spec).unwrap()).unwrap();
    let mut server = Command::new(FIXTURE)
        .arg("serve-and-die")
        .args([site.data.path(), &spec])
        .spawn()
        .unwrap();
    assert!(!server.wait().unwrap().success());
    let driver = site.driver().await;
    let executor = site.executor("wait");
    assert_eq!(listed(&executor).await, [(site.id().clone(), true)]);
    executor.start(&site.spec, "s3cret").await.unwrap();
    assert_eq!(site.observe(&executor).await, Observation::Running);
    assert_eq!(
        site.driver().await,
        driver,
        "a repeated start starts no second driver"
    );
    driver.send_kill();
    let (exit, evidence) = site.ended(&executor).await;
    assert_eq!(exit, AttemptExit::DriverDied);
    assert_eq!(
        evidence.driver_exit, None,
        "nobody saw how it ended, so nobody says"
    );
    assert_eq!(listed(&executor).await, []);
}

/// Somebody took the folder of an attempt elsewhere and started a second driver there.
#[tokio::test]
async fn a_second_run_of_an_attempt_is_listed_and_ended_while_the_first_goes_on() {
    let mut site = Site::new(40);
    let url = site.data.path().join("control-url");
    site.spec.control_url_file = Some(url.display().to_string());
    let executor = site.started("wait").await;
    let first = site.driver().await;
    let copy = tempfile::tempdir().unwrap();
    for file in ["spec.json", "token"] {
        fs::copy(site.dir().path().join(file), copy.path().join(file)).unwrap();
    }
    let mut second = Command::new(FIXTURE)
        .args(["wait", "job", "--spec"])
        .arg(copy.path().join("spec.json"))
        .spawn()
        .unwrap();
    let both = async || {
        let runs = executor.list().await.unwrap();
        (runs.len() == 2).then_some(runs)
    };
    let runs = until("both runs are listed", both).await;
    let stray = runs.iter().find(|run| !run.is_the_attempts).unwrap();
    assert_eq!(stray.attempt, *site.id());
    assert!(
        stray.evidence.contains(&second.id().to_string()),
        "{stray:?}"
    );
    let ended = tokio::spawn({
        let (executor, stray) = (executor.clone(), stray.clone());
        async move { executor.end_run(&stray).await.unwrap() }
    });
    tokio::task::spawn_blocking(move || second.wait().unwrap())
        .await
        .unwrap();
    assert!(ended.await.unwrap().proven_gone);
    assert_eq!(listed(&executor).await, [(site.id().clone(), true)]);
    assert_eq!(site.driver().await, first);
    assert!(is_alive(&first));
    let again = executor.end_run(stray).await.unwrap();
    assert!(again.proven_gone, "ending it twice is no error: {again:?}");
}

/// The runs that the backend shows, and whether each is its attempt's own.
async fn listed(executor: &LocalExecutor) -> Vec<(AttemptId, bool)> {
    let runs = executor.list().await.unwrap();
    runs.into_iter()
        .map(|run| (run.attempt, run.is_the_attempts))
        .collect()
}

#[tokio::test]
async fn a_polite_driver_is_stopped_with_its_own_last_word() {
    let site = Site::new(9);
    let executor = site.started("wait").await;
    site.driver().await;
    let outcome = executor.stop(site.id()).await.unwrap();
    assert!(outcome.proven_gone, "{outcome:?}");
    assert!(site.dir().exit().exists());
    assert_eq!(site.ended(&executor).await.0, AttemptExit::Cancelled);
    assert!(
        executor.stop(site.id()).await.unwrap().proven_gone,
        "a repeated stop is harmless"
    );
}

#[tokio::test]
async fn a_deaf_driver_is_killed_and_its_runaway_found() {
    let site = Site::new(10);
    let executor = site.started("deaf-with-runaway").await;
    let driver = site.driver().await;
    let runaway = site.pid_in("runaway.pid").await;
    let outcome = executor.stop(site.id()).await.unwrap();
    assert!(outcome.proven_gone, "{outcome:?}");
    assert!(!is_alive(&driver) && !is_alive(&runaway));
    assert_eq!(site.ended(&executor).await.0, AttemptExit::Cancelled);
}

#[tokio::test]
async fn an_attempt_that_was_stopped_before_its_start_is_never_started() {
    let site = Site::new(11);
    let executor = site.executor("wait");
    assert!(executor.stop(site.id()).await.unwrap().proven_gone);
    executor.start(&site.spec, "s3cret").await.unwrap();
    assert!(!site.dir().driver_err().exists());
    assert_eq!(site.ended(&executor).await.0, AttemptExit::Cancelled);
}

#[tokio::test]
async fn what_was_captured_survives_the_group_and_the_server() {
    let site = Site::new(12);
    let executor = site.started("finish").await;
    let first = site.ended(&executor).await;
    executor.forget(site.id()).await.unwrap();
    executor.forget(site.id()).await.unwrap();
    let group = AttemptGroup::open(&site.dir().group()).unwrap().unwrap();
    assert!(group.path().is_none_or(|path| !path.exists()));
    let next = site.executor("finish");
    assert_eq!(site.ended(&next).await, first);
    assert_eq!(next.logs(site.id()).await.unwrap(), [LogName::Driver]);
}

#[tokio::test]
async fn a_running_attempt_is_not_forgotten() {
    let site = Site::new(13);
    let executor = site.started("wait").await;
    let refused = executor.forget(site.id()).await;
    assert!(
        matches!(refused, Err(ExecutorError::Unavailable { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn logs_are_read_in_pieces() {
    let site = Site::new(14);
    let executor = site.executor("finish");
    assert!(executor.logs(site.id()).await.unwrap().is_empty());
    executor.start(&site.spec, "s3cret").await.unwrap();
    site.ended(&executor).await;
    let piece = executor
        .read_log(site.id(), &LogName::Driver, -4, 100)
        .await
        .unwrap();
    assert_eq!(
        (&piece.bytes[..], piece.offset, piece.total_bytes),
        (&b"ing\n"[..], 4, 8)
    );
    let missing = executor
        .read_log(site.id(), &LogName::Worker(3), 0, 1)
        .await;
    assert!(matches!(missing, Err(ExecutorError::NoSuchLog { log, .. }) if log == "worker-3"));
}

#[tokio::test]
async fn a_program_that_is_missing_is_told_and_can_be_tried_again() {
    let site = Site::new(15);
    let broken =
        LocalExecutor::open(LocalConfig::new(site.data.path(), "/no/such/program")).unwrap();
    let failed = broken.start(&site.spec, "s3cret").await;
    assert!(
        matches!(&failed, Err(ExecutorError::Unavailable { message, .. })
        if message.contains("/no/such/program")),
        "{failed:?}"
    );
    assert_eq!(site.observe(&broken).await, Observation::Unknown);
    let executor = site.started("finish").await;
    assert_eq!(site.ended(&executor).await.0, AttemptExit::Finished);
}

/// A driver need not be Fettle's own: a script that takes no seat is watched by what its parent knows.
#[tokio::test]
async fn a_script_is_watched_as_well() {
    let site = Site::new(16);
    let script = site.data.path().join("driver.sh");
    fs::write(&script, "echo \"$@\" >&2\nexit 3\n").unwrap();
    let mut config = LocalConfig::new(site.data.path(), "/bin/sh");
    config.leading_args = vec![script.into()];
    let executor = LocalExecutor::open(config).unwrap();
    executor.start(&site.spec, "s3cret").await.unwrap();
    let (exit, evidence) = site.ended(&executor).await;
    assert_eq!(
        (exit, evidence.driver_exit.unwrap().code),
        (AttemptExit::DriverDied, Some(3))
    );
    assert_eq!(
        evidence.driver_log_tail,
        format!("job --spec {}", site.dir().spec().display())
    );
}
