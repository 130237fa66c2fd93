//! On which machine, and when, is something measured?

use std::time::{SystemTime, UNIX_EPOCH};

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::bench::MachineRecord;

/// This machine, today. What the operating system does not tell is "unknown".
pub fn machine() -> MachineRecord {
    let wanted = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(wanted).ok();
    let known = |name: Option<String>| name.filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".into());
    let cpus = system.as_ref().map(System::cpus).unwrap_or_default();
    let brand = cpus.first().map(|cpu| cpu.brand().trim().to_string());
    MachineRecord {
        host: known(System::host_name().ok()),
        cpu: format!("{}, {} cores", known(brand), cpus.len()),
        memory: system.as_ref().map_or(0, System::total_memory),
        os: known(System::long_os_version().ok()),
        date: date(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_secs() / 86_400),
        ),
    }
}

/// The date of a day, counted from 1970-01-01.
fn date(mut day: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for days in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates_of_the_calendar() {
        for (day, expected) in [
            (0, "1970-01-01"),
            (364, "1970-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_784, "2026-11-27"),
        ] {
            assert_eq!(date(day), expected);
        }
    }

    #[test]
    fn this_machine_has_a_cpu_and_memory() {
        let machine = machine();
        assert!(
            machine.memory > 1 << 20 && !machine.cpu.ends_with(", 0 cores"),
            "{machine:?}"
        );
    }
}
