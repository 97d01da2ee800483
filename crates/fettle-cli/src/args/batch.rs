//! Options of `fettle batch …`.

use clap::{ArgGroup, Args, Subcommand};

use super::size::{MemorySize, parse_size};

/// What to do with batches.
#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// List batches, the newest first
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show a batch with its tiers and jobs
    Get(GetArgs),
    /// Follow a batch until it ends
    Watch(WatchArgs),
    /// Say what a batch is doing or why it failed, on what evidence, and what would mend it
    Diagnose(DiagnoseArgs),
    /// Stop a batch, one tier or one job
    Cancel(CancelArgs),
    /// Run a tier again, with other resources or as the diagnosis recommends
    Retry(RetryArgs),
    /// Look for what is stuck, doubled, lost or poisoned in a tier, and mend it
    Heal(HealArgs),
    /// Print what the drivers and workers wrote
    Logs(LogsArgs),
    /// Show that submitted = processed + failed + skipped, tier by tier
    Audit(AuditArgs),
    /// List the documents that failed, with the reason
    Failed(FailedArgs),
}

/// Options of `ls`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Only batches of this bucket, by name or id
    #[arg(long, value_name = "BUCKET")]
    pub bucket: Option<String>,
    /// Only batches in this state, such as FAILED
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    pub status: Option<String>,
    /// How many at most
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

/// Options of `get`.
#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// The batch's id
    #[arg(value_name = "BATCH")]
    pub batch: String,
}

/// Options of `watch`.
#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// The batch's id
    #[arg(value_name = "BATCH")]
    pub batch: String,
    /// Time between two looks, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub interval_ms: u64,
}

/// Options of `diagnose`.
#[derive(Debug, Clone, Args)]
pub struct DiagnoseArgs {
    /// The batch's id
    #[arg(value_name = "BATCH")]
    pub batch: String,
    /// As Markdown, for a ticket or a chat; what looks like a secret is left out
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
}

/// Options of `cancel`.
#[derive(Debug, Clone, Args)]
pub struct CancelArgs {
    /// The batch's id
    #[arg(value_name = "BATCH")]
    pub batch: String,
    /// Only this tier
    #[arg(long, value_name = "NUMBER")]
    pub tier: Option<u32>,
    /// Only this job of the tier
    #[arg(long, value_name = "JOB", requires = "tier")]
    pub job: Option<String>,
    /// Why, for the timeline
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Options of `retry`.
#[derive(Debug, Clone, Default, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["tier", "recommended"]))]
pub struct RetryArgs {
    /// The batch's id
    #[arg(value_name = "BATCH")]
    pub batch: String,
    /// The tier to run again
    #[arg(long, value_name = "NUMBER")]
    pub tier: Option<u32>,
    /// Make the first recommended call of the diagnosis, as it stands
    #[arg(long, conflicts_with_all = ["memory", "cpus", "gpus", "requires_gpu", "priority"])]
    pub recommended: bool,
    /// Memory limit of each worker, such as 512MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<MemorySize>,
    /// CPU cores; each is a worker
    #[arg(long, value_name = "CORES")]
    pub cpus: Option<f64>,
    /// GPUs
    #[arg(long, value_name = "GPUS")]
    pub gpus: Option<f64>,
    /// Run on a GPU only
    #[arg(long)]
    pub requires_gpu: bool,
    /// Higher goes first
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub priority: Option<i32>,
}

/// Options of `heal`.
#[derive(Debug, Clone, Args)]
pub struct HealArgs {
    /// The batch's id
    #[arg(value_name = "BATCH")]
    pub batch: String,
    /// The tier; the one at which the batch stands where it is left out
    #[arg(long, value_name = "NUMBER")]
    pub tier: Option<u32>,
    /// What to look for
    #[arg(long, value_name = "ACTION", default_value = "auto", value_parser = HEAL_ACTIONS)]
    pub action: String,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// What healing can look for; `auto` is all of it.
const HEAL_ACTIONS: [&str; 6] = [
    "detect_stuck",
    "kill_duplicates",
    "sync_status",
    "adopt_orphans",
    "quarantine_poison",
    "auto",
];

/// Options of `logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The batch's id
    #[arg(value_name = "BATCH")]
    pub batch: String,
    /// Only this tier
    #[arg(long, value_name = "NUMBER")]
    pub tier: Option<u32>,
}

/// Options of `audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// The batch's id
    #[arg(value_name = "BATCH")]
    pub batch: String,
}

/// Options of `failed`.
#[derive(Debug, Clone, Args)]
pub struct FailedArgs {
    /// The batch's id
    #[arg(value_name = "BATCH")]
    pub batch: String,
    /// Only this tier
    #[arg(long, value_name = "NUMBER")]
    pub tier: Option<u32>,
    /// How many at most
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// How many to leave out
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub offset: u32,
}

fn parse_state(text: &str) -> Result<String, String> {
    const STATES: [&str; 7] = [
        "DRAFT",
        "QUEUED",
        "PROCESSING",
        "COMPLETED",
        "COMPLETED_WITH_ERRORS",
        "FAILED",
        "CANCELED",
    ];
    let state = text.to_ascii_uppercase().replace('-', "_");
    if STATES.contains(&state.as_str()) {
        Ok(state)
    } else {
        Err(format!("the states are {}", STATES.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::Cli;

    fn accepts(line: &str) -> bool {
        Cli::try_parse_from(line.split_whitespace()).is_ok()
    }

    #[test]
    fn a_retry_names_a_tier_or_takes_the_recommendation_as_it_stands() {
        assert!(accepts(
            "fettle batch retry btch_1 --tier 1 --memory 512MiB --requires-gpu --priority 50"
        ));
        assert!(accepts("fettle batch retry btch_1 --recommended"));
        assert!(!accepts("fettle batch retry btch_1"));
        assert!(!accepts(
            "fettle batch retry btch_1 --recommended --memory 1GiB"
        ));
        assert!(!accepts("fettle batch retry btch_1 --recommended --tier 1"));
        assert!(!accepts("fettle batch retry btch_1 --tier 1 --memory lots"));
    }

    #[test]
    fn healing_looks_for_everything_unless_it_is_told_what_for() {
        assert!(accepts("fettle batch heal btch_1"));
        assert!(accepts(
            "fettle batch heal btch_1 --tier 1 --action detect_stuck --dry-run"
        ));
        assert!(!accepts("fettle batch heal btch_1 --action pray"));
    }

    #[test]
    fn a_job_is_cancelled_within_its_tier() {
        assert!(accepts("fettle batch cancel btch_1 --tier 0 --job job_1"));
        assert!(!accepts("fettle batch cancel btch_1 --job job_1"));
    }

    #[test]
    fn states_are_known_in_any_case() {
        assert!(accepts("fettle batch ls --status completed-with-errors"));
        assert!(!accepts("fettle batch ls --status done"));
    }
}
