//! `fettle serve`: opens everything, listens, and ends politely.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fettle_api::{AdminKey, ApiState, Auth, QueryEmbedder};
use fettle_cli::{ExecutorKind, NodeType, ServeArgs, StuckAction};
use fettle_control::{Control, ControlConfig, Ports, StuckMode, StuckPolicy};
use fettle_diagnose::stuck::StuckLimits;
use fettle_exec::{LocalConfig, LocalExecutor, RayConfig, RayExecutor, RayNodeType};
use fettle_index::EdgeIndex;
use fettle_model::attempt::AccessPolicy;
use fettle_ports::{Blobs as _, Executor};
use fettle_store::{ObjectBlobs, SqliteStore};
use fettle_webhook::{WebhookPorts, WebhookSettings, Webhooks};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::embed::ModelEmbedder;
use crate::system::{SystemClock, SystemEntropy};
use crate::{logging, work};

/// The file that tells drivers where a server that came back listens now.
const CONTROL_URL_FILE: &str = "control-url";
/// The file that tells where a Ray cluster may send its events.
const EVENTS_URL_FILE: &str = "ray-events-url";
/// The file that holds the secret behind attempt tokens.
const SECRET_FILE: &str = "secret";

/// Runs the server until SIGTERM or SIGINT.
pub(crate) fn run(args: ServeArgs, chosen_key: Option<String>) -> anyhow::Result<()> {
    logging::start(args.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(args, chosen_key))
}

async fn serve(args: ServeArgs, chosen_key: Option<String>) -> anyhow::Result<()> {
    let data_dir = make_data_dir(&args.data_dir)?;
    let store = Arc::new(SqliteStore::open(&data_dir.join("state.sqlite"))?);
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let first = Auth::bootstrap(
        &*store,
        &*clock,
        &*entropy,
        admin_key(chosen_key.as_deref(), args.passing_key),
    )
    .await?;
    // At once: whatever keeps this start from listening, the key exists from here on and is never shown again.
    if let Some(key) = &first.new_key {
        work::say("An admin API key was made. It is shown once and only its hash is kept:");
        work::say(key);
    }
    refuse_to_expose_the_default_key(&args.listen, first.is_default)?;
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("failed to listen on {}", args.listen))?;
    let own_url = control_url(listener.local_addr()?);
    let url = args.advertise_url.clone().unwrap_or(own_url);
    let config = config(&args, &data_dir, &url)?;
    if args.executor == ExecutorKind::Ray {
        // Before the cluster is looked for: its head is to be started with it.
        tell_events_url(&data_dir.join(EVENTS_URL_FILE), &config)?;
    }
    let blobs = ObjectBlobs::open(&blob_address(&args, &data_dir))?;
    // A bucket that does not exist or cannot be read shows here and not at a user's first upload.
    blobs
        .check()
        .await
        .context("failed to use the blob store")?;
    let ports = Ports {
        store: store.clone(),
        index: Arc::new(EdgeIndex::open(&data_dir.join("index"))?),
        blobs: Arc::new(blobs),
        executor: executor(&args, &data_dir, &url).await?,
        clock,
        entropy,
    };
    let embedder = config.model_dir.clone().map(|dir| {
        let embedder: Arc<dyn QueryEmbedder> = Arc::new(ModelEmbedder::new(dir));
        embedder
    });
    let webhooks = webhooks(&ports, &config)?;
    // Compiled before the first diagnosis needs them.
    tokio::task::spawn_blocking(fettle_diagnose::RuleSet::builtin);
    let control = Control::start(ports, config).await?;
    let state = ApiState::new(control.clone(), Auth::new(store), embedder);
    tracing::info!(url, "listening");
    let served = axum::serve(listener, fettle_api::router(state));
    served.with_graceful_shutdown(asked_to_end()?).await?;
    tracing::info!("ending; running jobs go on and are taken up at the next start");
    webhooks.stop().await;
    control.stop().await;
    Ok(())
}

fn webhooks(ports: &Ports, config: &ControlConfig) -> anyhow::Result<Webhooks> {
    let ports = WebhookPorts {
        store: ports.store.clone(),
        clock: ports.clock.clone(),
        entropy: ports.entropy.clone(),
    };
    let settings = WebhookSettings {
        allowed_hosts: config.webhook_hosts.clone(),
        server_secret: config.token_secret,
    };
    Webhooks::start(ports, settings).context("failed to start the webhooks")
}

/// An empty variable is as good as none.
fn admin_key(chosen: Option<&str>, is_passing: bool) -> AdminKey<'_> {
    match chosen.map(str::trim).filter(|secret| !secret.is_empty()) {
        None => AdminKey::Made,
        Some(secret) if is_passing => AdminKey::Passing(secret),
        Some(secret) => AdminKey::Chosen(secret),
    }
}

fn make_data_dir(given: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    // State and logs hold what users sent: nobody else's business.
    builder.recursive(true).mode(0o700);
    builder
        .create(given)
        .with_context(|| format!("failed to make {}", given.display()))?;
    given
        .canonicalize()
        .with_context(|| format!("failed to find {}", given.display()))
}

fn refuse_to_expose_the_default_key(listen: &SocketAddr, is_default: bool) -> anyhow::Result<()> {
    if is_default && !listen.ip().is_loopback() {
        bail!(
            "{listen} is not a loopback address and the API key is the one that the first start made; \
             set a key of your own in FETTLE_API_KEY to listen there"
        );
    }
    Ok(())
}

/// The address that drivers on this machine use; a wildcard address is reached by loopback.
fn control_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    format!("http://{address}")
}

fn blob_address(args: &ServeArgs, data_dir: &Path) -> String {
    let local = || format!("file://{}", data_dir.join("blobs").display());
    args.blobs.clone().unwrap_or_else(local)
}

fn config(args: &ServeArgs, data_dir: &Path, url: &str) -> anyhow::Result<ControlConfig> {
    let url_file = data_dir.join(CONTROL_URL_FILE);
    fettle_confine::write_atomically(&url_file, url.as_bytes())?;
    let absolute = |path: &PathBuf| {
        let found = path.canonicalize();
        found.with_context(|| format!("failed to find {}", path.display()))
    };
    let roots = args.allow_file_root.iter().map(absolute);
    let roots = roots.map(|root| root.map(|root| root.display().to_string()));
    Ok(ControlConfig {
        control_url: url.to_owned(),
        control_url_file: Some(url_file),
        public_url: args.public_url.clone(),
        data_dir: data_dir.to_owned(),
        model_dir: args.model_dir.as_ref().map(absolute).transpose()?,
        access: AccessPolicy {
            file_roots: roots.collect::<anyhow::Result<_>>()?,
            private_hosts: args.allow_private_host.clone(),
        },
        webhook_hosts: args.allow_webhook_host.clone(),
        requests_per_second: args.rate_limit,
        default_resources: ControlConfig::standard_resources(),
        stuck: stuck_policy(args),
        cold_start: Duration::from_secs(args.ray_cold_start_seconds),
        row_timeout_ms: args
            .row_timeout
            .map(|seconds| seconds.saturating_mul(1_000)),
        price_per_compute_hour: args.price_per_compute_hour,
        token_secret: secret(&data_dir.join(SECRET_FILE))?,
    })
}

fn stuck_policy(args: &ServeArgs) -> StuckPolicy {
    StuckPolicy {
        mode: match args.stuck {
            StuckAction::Off => StuckMode::Off,
            StuckAction::Detect => StuckMode::Detect,
            StuckAction::Kill => StuckMode::Kill,
        },
        limits: StuckLimits::of_floor(args.stuck_after.saturating_mul(1_000)),
    }
}

/// The secret behind attempt tokens; it outlives restarts, so that drivers stay known.
fn secret(path: &Path) -> anyhow::Result<[u8; 32]> {
    if path.exists() {
        let kept =
            std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        let length = kept.len();
        return kept.try_into().map_err(|_| {
            anyhow::anyhow!(
                "{} holds {length} bytes and not 32; restore it from a copy",
                path.display()
            )
        });
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("failed to draw a secret")?;
    let written = fettle_confine::write_atomically(path, &secret);
    written.with_context(|| format!("failed to write {}", path.display()))?;
    Ok(secret)
}

/// The address holds a secret, so it goes to a file that nobody else may read, and to no log.
fn tell_events_url(file: &Path, config: &ControlConfig) -> anyhow::Result<()> {
    let (url, token) = (
        config.control_url.trim_end_matches('/'),
        config.backend_token(),
    );
    let url = format!("{url}/v1/internal/backend-events/{token}\n");
    let written = fettle_confine::write_atomically(file, url.as_bytes());
    written.with_context(|| format!("failed to write {}", file.display()))?;
    tracing::info!(file = %file.display(), "the file tells where the cluster may send its events");
    Ok(())
}

async fn executor(
    args: &ServeArgs,
    data_dir: &Path,
    url: &str,
) -> anyhow::Result<Arc<dyn Executor>> {
    let program = std::env::current_exe()?;
    if args.executor == ExecutorKind::Ray {
        let address = args.ray_address.clone();
        let address = address.context("--executor ray needs --ray-address")?;
        let config = RayConfig {
            data_dir: data_dir.to_owned(),
            address,
            program,
            control_url: url.to_owned(),
            jobs_max: args.ray_max_concurrent_jobs,
            workers_max: args.ray_max_workers,
            node_wait: Duration::from_secs(args.ray_cold_start_seconds),
            node_types: args.ray_node_type.iter().map(node_type).collect(),
        };
        return Ok(Arc::new(RayExecutor::open(config).await?));
    }
    let mut config = LocalConfig::new(data_dir, program);
    config.num_cpus = args.capacity_cpus;
    config.memory_bytes = args.capacity_memory.map(|size| size.bytes());
    Ok(Arc::new(LocalExecutor::open(config)?))
}

fn node_type(given: &NodeType) -> RayNodeType {
    RayNodeType {
        name: given.name.clone(),
        max_workers: given.max_workers,
        num_cpus: given.num_cpus,
        num_gpus: given.num_gpus,
        memory_bytes: given.memory.bytes(),
    }
}

fn asked_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
