//! Which GPUs of its node each worker beside the driver sees.
//!
//! Owns the dealing out. The backend gives the driver the GPUs of all its workers together, by the variables that GPU libraries heed; a
//! host elsewhere has one worker, which sees all that the host sees.

/// Variables that tell libraries which GPUs there are, as identifiers separated by commas.
pub(crate) const VISIBLE_DEVICES: [&str; 2] = ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"];

/// The part of worker `number` of `sharers` in what is visible: each GPU goes to one worker, and where there are fewer GPUs than workers,
/// they share them. `None` where there is nothing to deal out.
pub(super) fn part(visible: &str, number: u32, sharers: u32) -> Option<String> {
    let devices: Vec<&str> = visible.split(',').map(str::trim).collect();
    let is_listed = devices.iter().all(|device| !device.is_empty());
    if !is_listed || sharers < 2 {
        return None;
    }
    let (number, sharers) = (number as usize % sharers as usize, sharers as usize);
    if devices.len() < sharers {
        return Some(devices[number % devices.len()].to_owned());
    }
    let own = devices.iter().skip(number).step_by(sharers);
    Some(own.copied().collect::<Vec<_>>().join(","))
}

/// The GPUs that this process may use, where it was told.
pub(crate) fn visible() -> Option<String> {
    let told = VISIBLE_DEVICES
        .iter()
        .find_map(|name| std::env::var(name).ok());
    told.filter(|devices| !devices.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(visible: &str, sharers: u32, expected: &[&str]) {
        let parts: Vec<String> = (0..sharers)
            .map(|number| part(visible, number, sharers).unwrap())
            .collect();
        assert_eq!(parts, expected);
    }

    #[test]
    fn gpus_are_dealt_out_and_shared_where_there_are_too_few() {
        check("0,1", 2, &["0", "1"]);
        check("4,6,7", 2, &["4,7", "6"]);
        check(
            "GPU-a, GPU-b,GPU-c,GPU-d",
            2,
            &["GPU-a,GPU-c", "GPU-b,GPU-d"],
        );
        check("3", 3, &["3", "3", "3"]);
        check("0,1", 3, &["0", "1", "0"]);
    }

    #[test]
    fn one_worker_sees_all_and_where_there_is_none_nothing_is_said() {
        assert_eq!(part("0,1", 0, 1), None);
        assert_eq!(part("", 0, 2), None);
    }
}
