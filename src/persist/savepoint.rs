//! When to save and when to rewrite: decisions about numbers, no files and no clock.

use crate::base::clock::UnixMs;

/// After a failed background save, this long passes before the next attempt.
pub const RETRY_AFTER_MS: u64 = 5_000;
/// From this many failed rewrites in a row on, automatic ones are spaced out.
pub const REWRITE_FAILURES_FREE: u32 = 3;
/// The longest pause between rewrites while writes are refused until one has succeeded.
pub const URGENT_PAUSE_SECS_MAX: u64 = 30;
/// The longest pause between automatic rewrites.
pub const REWRITE_PAUSE_MINUTES_MAX: u64 = 60;

/// One `save` line: after `secs` seconds with at least `changes` changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveRule {
    /// Seconds since the last save that must have passed, exclusive.
    pub secs: u64,
    /// Changes there must be, inclusive.
    pub changes: u64,
}

/// How the last attempt to save ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastSave {
    /// It succeeded, or there was none.
    Ok,
    /// It failed.
    Failed,
}

/// What the decision to save depends on.
#[derive(Clone, Copy, Debug)]
pub struct SaveState {
    /// Changes since the last successful save began.
    pub dirty: u64,
    /// When the last successful save ended.
    pub saved_at: UnixMs,
    /// When the last attempt began.
    pub tried_at: UnixMs,
    /// How it ended.
    pub last: LastSave,
}

/// The first rule that asks for a save now, if any.
pub fn save_due(rules: &[SaveRule], state: SaveState, now: UnixMs) -> Option<SaveRule> {
    let since_try_ms = now.0.saturating_sub(state.tried_at.0);
    if state.last == LastSave::Failed && since_try_ms <= RETRY_AFTER_MS {
        return None;
    }
    let since_save_secs = now.secs().saturating_sub(state.saved_at.secs());
    let due = |rule: &SaveRule| state.dirty >= rule.changes && since_save_secs > rule.secs;
    rules.iter().copied().find(due)
}

/// What the decision to rewrite depends on.
#[derive(Clone, Copy, Debug)]
pub struct RewriteState {
    /// `auto-aof-rewrite-percentage`; 0 turns automatic rewrites off.
    pub percentage: u64,
    /// `auto-aof-rewrite-min-size`.
    pub size_bytes_min: u64,
    /// Size after the last rewrite, or at the start.
    pub base_bytes: u64,
    /// Size now.
    pub current_bytes: u64,
}

/// The growth in percent that asks for a rewrite now, if it does.
pub fn rewrite_due(state: RewriteState) -> Option<u64> {
    if state.percentage == 0 || state.current_bytes <= state.size_bytes_min {
        return None;
    }
    let base = u128::from(state.base_bytes.max(1));
    let ratio = u128::from(state.current_bytes) * 100 / base;
    let growth = u64::try_from(ratio).unwrap_or(u64::MAX).checked_sub(100)?;
    (growth >= state.percentage).then_some(growth)
}

/// Spaces out automatic rewrites that keep failing, since each one opens a new increment: the
/// third failure in a row and those after it are followed by pauses of 1, 2, 4 … 60 minutes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RewriteLimit {
    failures: u32,
    pause_minutes: u64,
    not_before: UnixMs,
    /// The same for rewrites that clients wait for.
    urgent_not_before: UnixMs,
}

/// What `RewriteLimit` says about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Go on.
    Allowed,
    /// Wait; the pause that has just begun has this many minutes.
    PauseBegins(u64),
    /// Wait; a pause is running.
    Paused,
}

impl RewriteLimit {
    /// Asks whether an automatic rewrite may be tried now.
    pub fn attempt(&mut self, now: UnixMs) -> Attempt {
        if self.failures < REWRITE_FAILURES_FREE {
            (self.pause_minutes, self.not_before) = (0, UnixMs(0));
            return Attempt::Allowed;
        }
        if self.not_before == UnixMs(0) {
            self.pause_minutes = (self.pause_minutes * 2).clamp(1, REWRITE_PAUSE_MINUTES_MAX);
            self.not_before = UnixMs(now.0.saturating_add(self.pause_minutes * 60_000));
            return Attempt::PauseBegins(self.pause_minutes);
        }
        if now < self.not_before {
            return Attempt::Paused;
        }
        self.not_before = UnixMs(0);
        Attempt::Allowed
    }

    /// The same while writes are refused until a rewrite has succeeded: the next one comes 1, 2,
    /// 4 … 30 seconds after this, the sooner the fewer have failed.
    pub fn attempt_urgent(&mut self, now: UnixMs) -> Attempt {
        if now < self.urgent_not_before {
            return Attempt::Paused;
        }
        let secs = (1u64 << self.failures.min(5)).min(URGENT_PAUSE_SECS_MAX);
        self.urgent_not_before = UnixMs(now.0.saturating_add(secs * 1000));
        Attempt::Allowed
    }

    /// Whether so many have failed in a row that automatic ones are spaced out.
    pub fn is_reached(&self) -> bool {
        self.failures >= REWRITE_FAILURES_FREE
    }

    /// Rewrites that failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes that a rewrite failed.
    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Notes that a rewrite succeeded.
    pub fn succeeded(&mut self) {
        *self = RewriteLimit::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [SaveRule; 2] =
        [SaveRule { secs: 3600, changes: 1 }, SaveRule { secs: 60, changes: 100 }];

    fn state(dirty: u64, last: LastSave) -> SaveState {
        SaveState { dirty, saved_at: UnixMs(1_000_000), tried_at: UnixMs(1_000_000), last }
    }

    #[test]
    fn save_due_needs_both_time_and_changes() {
        let at = |secs: u64| UnixMs(1_000_000 + secs * 1000);
        assert_eq!(save_due(&RULES, state(100, LastSave::Ok), at(60)), None);
        assert_eq!(save_due(&RULES, state(100, LastSave::Ok), at(61)), Some(RULES[1]));
        assert_eq!(save_due(&RULES, state(99, LastSave::Ok), at(61)), None);
        assert_eq!(save_due(&RULES, state(1, LastSave::Ok), at(3601)), Some(RULES[0]));
        assert_eq!(save_due(&RULES, state(0, LastSave::Ok), at(9999)), None);
        assert_eq!(save_due(&[], state(9, LastSave::Ok), at(9999)), None);
    }

    #[test]
    fn save_due_after_a_failure_waits_five_seconds() {
        let rules = [SaveRule { secs: 0, changes: 1 }];
        let at = |ms: u64| UnixMs(1_000_000 + ms);
        assert_eq!(save_due(&rules, state(1, LastSave::Failed), at(5000)), None);
        assert_eq!(save_due(&rules, state(1, LastSave::Failed), at(5001)), Some(rules[0]));
        assert_eq!(save_due(&rules, state(1, LastSave::Ok), at(1000)), Some(rules[0]));
    }

    #[test]
    fn rewrite_due_follows_growth_and_minimum() {
        let state = RewriteState {
            percentage: 100,
            size_bytes_min: 64,
            base_bytes: 100,
            current_bytes: 200,
        };
        assert_eq!(rewrite_due(state), Some(100));
        assert_eq!(rewrite_due(RewriteState { current_bytes: 199, ..state }), None);
        assert_eq!(rewrite_due(RewriteState { size_bytes_min: 200, ..state }), None);
        assert_eq!(rewrite_due(RewriteState { percentage: 0, ..state }), None);
        assert_eq!(rewrite_due(RewriteState { base_bytes: 0, ..state }), Some(19_900));
        assert_eq!(rewrite_due(RewriteState { base_bytes: 900, ..state }), None);
    }

    #[test]
    fn rewrite_limit_doubles_its_pauses_up_to_an_hour() {
        let mut limit = RewriteLimit::default();
        let mut now = UnixMs(1_000);
        for _ in 0..3 {
            assert_eq!(limit.attempt(now), Attempt::Allowed);
            limit.failed();
        }
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(limit.attempt(now), Attempt::PauseBegins(minutes));
            now.0 += minutes * 60_000 - 1;
            assert_eq!(limit.attempt(now), Attempt::Paused);
            now.0 += 1;
            assert_eq!(limit.attempt(now), Attempt::Allowed);
            limit.failed();
        }
        limit.succeeded();
        assert_eq!(limit.attempt(now), Attempt::Allowed);
    }

    #[test]
    fn urgent_attempts_are_never_more_than_half_a_minute_apart() {
        let mut limit = RewriteLimit::default();
        let mut now = UnixMs(1_000);
        for secs in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(limit.attempt_urgent(now), Attempt::Allowed);
            limit.failed();
            now.0 += secs * 1000 - 1;
            assert_eq!(limit.attempt_urgent(now), Attempt::Paused);
            now.0 += 1;
        }
        assert!(limit.is_reached());
        limit.succeeded();
        assert_eq!(limit.attempt_urgent(now), Attempt::Allowed);
    }
}
