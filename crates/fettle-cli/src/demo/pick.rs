//! Which files the demo takes: small ones of three kinds, chosen the same way each time.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::CliError;
use crate::folder::{self, File};

/// Entries looked at below one root; documentation folders can hold hundreds of thousands.
const ENTRIES_MAX: usize = 60_000;
/// Candidates gathered for each file that is taken, so that the choice is spread over many folders.
const CANDIDATES_PER_FILE: usize = 4;
/// Files of each kind without which the demo would not show three kinds; a machine without documentation has few HTML files.
const PER_KIND_MIN: usize = 6;
/// How far the sum of sizes may run ahead of the average.
const SIZE_SLACK_BYTES: u64 = 8 << 10;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Html,
    Image,
    /// Makes up for what the others lack: every machine that builds this program has plenty of it.
    Source,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Text, Self::Html, Self::Image, Self::Source];
    /// The three that the demo is about.
    const SHOWN: [Self; 3] = [Self::Text, Self::Html, Self::Image];

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Html => "HTML",
            Self::Image => "image",
            Self::Source => "source text",
        }
    }

    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "md" | "markdown" | "txt" | "rst" => Some(Self::Text),
            "html" | "htm" => Some(Self::Html),
            "png" | "jpg" | "jpeg" => Some(Self::Image),
            "rs" | "py" => Some(Self::Source),
            _ => None,
        }
    }

    /// Sizes that are taken, in bytes: neither empty nor long.
    fn sizes(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Self::Text | Self::Source => 200..=8 << 10,
            Self::Html => 200..=64 << 10,
            Self::Image => 100..=512 << 10,
        }
    }

    /// Average size that is aimed at, in bytes. The sentence model reads about 4 KiB of text a second and core, and all of it is
    /// to be embedded within a minute on two cores; most of an HTML file is not text.
    fn average_bytes(self) -> u64 {
        match self {
            Self::Text | Self::Source => 450,
            Self::Html => 1_500,
            Self::Image => 512 << 10,
        }
    }

    /// How many of `all` files are of this kind.
    fn quota(self, all: usize) -> usize {
        match self {
            Self::Image => all / 3,
            Self::Html => all / 4,
            Self::Text => all - all / 3 - all / 4,
            Self::Source => 0,
        }
    }
}

/// The files that are taken.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) files: Vec<File>,
    pub(super) roots: Vec<PathBuf>,
}

impl Picked {
    /// How many files of each kind.
    pub(super) fn counts(&self) -> Vec<(&'static str, usize)> {
        let count = |kind: Option<Kind>| {
            self.files
                .iter()
                .filter(|file| Kind::of(&file.path) == kind)
                .count()
        };
        let mut counts: Vec<_> = Kind::ALL
            .iter()
            .map(|kind| (kind.name(), count(Some(*kind))))
            .collect();
        counts.push(("other", count(None)));
        counts.retain(|(_, count)| *count > 0);
        counts
    }
}

/// The first `wanted` files of a folder, of any kind.
pub(super) fn from_folder(folder: &Path, wanted: usize) -> Result<Picked, CliError> {
    let mut files = folder::scan(folder)?;
    if files.is_empty() {
        return Err(CliError::local(format!(
            "{} has no files that are not hidden",
            folder.display()
        )));
    }
    files.sort_by_key(|file| spread(&file.shown));
    files.truncate(wanted);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let root = folder.canonicalize().map_err(|source| CliError::File {
        doing: "open",
        path: folder.to_owned(),
        source,
    })?;
    Ok(Picked {
        files,
        roots: vec![root],
    })
}

/// `wanted` files of three kinds, from where documentation is found on a machine that has built this program.
pub(super) fn from_machine(wanted: usize) -> Result<Picked, CliError> {
    let mut candidates = Candidates::new(wanted);
    for root in roots() {
        candidates.gather(&root);
    }
    let mut picked = Picked {
        files: Vec::new(),
        roots: Vec::new(),
    };
    for kind in [Kind::Image, Kind::Html] {
        candidates.take(kind, kind.quota(wanted), &mut picked);
    }
    // What one kind lacks, the next makes up for.
    for kind in [Kind::Text, Kind::Source] {
        candidates.take(kind, wanted - picked.files.len(), &mut picked);
    }
    let least = PER_KIND_MIN.min(wanted / 12);
    let is_lacking = |kind: Kind| {
        picked
            .files
            .iter()
            .filter(|file| Kind::of(&file.path) == Some(kind))
            .count()
            < least
    };
    if picked.files.len() < wanted - wanted / 11 || Kind::SHOWN.into_iter().any(is_lacking) {
        return Err(CliError::Local {
            message: format!(
                "too few small documents were found on this machine: {:?}",
                picked.counts()
            ),
            hint: Some("name a folder of your own: `make demo DIR=…`".to_owned()),
        });
    }
    picked.files.sort_by(|a, b| a.path.cmp(&b.path));
    picked.roots.sort();
    picked.roots.dedup();
    Ok(picked)
}

/// Where documentation lies, the likeliest first.
fn roots() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let under = |variable: &str, folder: &str| {
        std::env::var_os(variable).map_or_else(|| home.join(folder), PathBuf::from)
    };
    let mut roots = vec![
        under("CARGO_HOME", ".cargo").join("registry/src"),
        under("RUSTUP_HOME", ".rustup").join("toolchains"),
    ];
    let of_system = [
        "/usr/share/doc",
        "/usr/share",
        "/usr/lib/python3",
        "/usr/local/lib",
        "/usr/lib",
    ];
    roots.extend(of_system.map(PathBuf::from));
    roots
        .into_iter()
        .filter_map(|root| root.canonicalize().ok())
        .collect()
}

/// A file that would do.
#[derive(Debug)]
struct Candidate {
    kind: Kind,
    root: PathBuf,
    file: File,
}

/// Files that would do, up to a number of each kind.
#[derive(Debug)]
struct Candidates {
    all: Vec<Candidate>,
    roots: Vec<PathBuf>,
    counts: [usize; Kind::ALL.len()],
    limits: [usize; Kind::ALL.len()],
}

impl Candidates {
    fn new(wanted: usize) -> Self {
        Self {
            all: Vec::new(),
            roots: Vec::new(),
            counts: [0; Kind::ALL.len()],
            limits: Kind::ALL.map(|kind| kind.quota(wanted).max(wanted / 2) * CANDIDATES_PER_FILE),
        }
    }

    /// Adds what a root has, until there are enough of every kind or the root is looked through.
    fn gather(&mut self, root: &Path) {
        let mut entries = 0;
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            if entries >= ENTRIES_MAX
                || self
                    .counts
                    .iter()
                    .zip(self.limits)
                    .all(|(count, limit)| *count >= limit)
            {
                break;
            }
            // What may not be read is passed over: these are other people's folders.
            let mut inside: Vec<_> = fs::read_dir(&folder)
                .into_iter()
                .flatten()
                .flatten()
                .collect();
            inside.sort_by_key(fs::DirEntry::file_name);
            entries += inside.len();
            for entry in inside {
                match entry.file_type() {
                    // A root may hold an earlier one, which has been looked through.
                    Ok(kind) if kind.is_dir() && !self.roots.contains(&entry.path()) => {
                        folders.push(entry.path())
                    }
                    Ok(kind) if kind.is_file() => self.consider(root, &entry),
                    _ => {}
                }
            }
        }
        self.roots.push(root.to_owned());
    }

    fn consider(&mut self, root: &Path, entry: &fs::DirEntry) {
        let path = entry.path();
        let Some(kind) = Kind::of(&path) else { return };
        let count = &mut self.counts[kind as usize];
        let size_bytes = entry.metadata().map_or(0, |metadata| metadata.len());
        if *count < self.limits[kind as usize] && kind.sizes().contains(&size_bytes) {
            *count += 1;
            let shown = path.to_string_lossy().into_owned();
            self.all.push(Candidate {
                kind,
                root: root.to_owned(),
                file: File {
                    path,
                    shown,
                    size_bytes,
                },
            });
        }
    }

    /// Takes `quota` candidates of a kind, spread over all folders, keeping text short on average.
    fn take(&self, kind: Kind, quota: usize, picked: &mut Picked) {
        let mut of_kind: Vec<_> = self
            .all
            .iter()
            .filter(|candidate| candidate.kind == kind)
            .collect();
        of_kind.sort_by_key(|candidate| spread(&candidate.file.shown));
        let (mut taken, mut bytes) = (0, 0);
        for Candidate { root, file, .. } in of_kind {
            if taken == quota {
                return;
            }
            let allowed = kind.average_bytes() * (taken as u64 + 1) + SIZE_SLACK_BYTES;
            if bytes + file.size_bytes > allowed {
                continue;
            }
            taken += 1;
            bytes += file.size_bytes;
            picked.files.push(file.clone());
            picked.roots.push(root.clone());
        }
    }
}

/// A number that looks random and is always the same for the same text (FNV-1a, 64 bit).
fn spread(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_add_up_and_each_kind_that_is_shown_has_one() {
        for all in [12, 1_000, 1_200] {
            assert_eq!(
                Kind::ALL.iter().map(|kind| kind.quota(all)).sum::<usize>(),
                all
            );
        }
        assert!(Kind::SHOWN.iter().all(|kind| kind.quota(1_200) >= 200));
        assert!(
            Kind::ALL
                .iter()
                .enumerate()
                .all(|(place, kind)| *kind as usize == place)
        );
    }

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..40 {
            let sub = folder.path().join(format!("d{}", index % 5));
            fs::create_dir_all(&sub).unwrap();
            fs::write(sub.join(format!("{index}.md")), "word ".repeat(100)).unwrap();
            fs::write(sub.join(format!("{index}.html")), "word ".repeat(100)).unwrap();
            fs::write(sub.join(format!("{index}.png")), [0_u8; 200]).unwrap();
            fs::write(sub.join(format!("{index}.bin")), [0_u8; 200]).unwrap();
        }
        folder
    }

    #[test]
    fn a_choice_is_the_same_each_time_and_knows_its_kinds() {
        let folder = tree();
        let choose = || {
            let mut candidates = Candidates::new(24);
            candidates.gather(folder.path());
            let mut picked = Picked {
                files: Vec::new(),
                roots: Vec::new(),
            };
            Kind::ALL
                .iter()
                .for_each(|kind| candidates.take(*kind, kind.quota(24), &mut picked));
            picked
        };
        let picked = choose();
        assert_eq!(picked.files, choose().files);
        assert_eq!(picked.counts(), [("text", 10), ("HTML", 6), ("image", 8)]);
    }

    #[test]
    fn a_folder_within_another_root_is_looked_through_once() {
        let folder = tree();
        let mut candidates = Candidates::new(1_200);
        candidates.gather(&folder.path().join("d0"));
        candidates.gather(folder.path());
        assert_eq!(candidates.all.len(), 40 * 3);
    }

    #[test]
    fn long_texts_are_passed_over_once_the_average_is_reached() {
        let mut candidates = Candidates::new(80);
        candidates.all.extend((0..200).map(|index| {
            let shown = format!("/x/{index}.md");
            let size_bytes = if index % 2 == 0 { 8_000 } else { 400 };
            let file = File {
                path: shown.clone().into(),
                shown,
                size_bytes,
            };
            Candidate {
                kind: Kind::Text,
                root: "/x".into(),
                file,
            }
        }));
        let mut picked = Picked {
            files: Vec::new(),
            roots: Vec::new(),
        };
        candidates.take(Kind::Text, 80, &mut picked);
        let bytes: u64 = picked.files.iter().map(|file| file.size_bytes).sum();
        assert!(
            bytes <= Kind::Text.average_bytes() * 80 + SIZE_SLACK_BYTES,
            "{bytes}"
        );
        assert_eq!(picked.files.len(), 80);
    }

    #[test]
    fn a_folder_of_ones_own_may_hold_anything() {
        let folder = tree();
        let picked = from_folder(folder.path(), 50).unwrap();
        assert_eq!(picked.files.len(), 50);
        assert!(picked.counts().iter().any(|(kind, _)| *kind == "other"));
    }
}
