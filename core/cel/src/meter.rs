//! How much an evaluation may still cost: upstream's units, and the work behind them.

use crate::eval::EvalError;

/// Values and chunks of text that one evaluation may copy or compare; upstream's units do not count
/// those, so this is what bounds time and memory.
const WORK_MAX: u64 = 4_000_000;

/// Counts what an evaluation costs.
#[derive(Clone, Debug)]
pub struct Meter {
    cost: u64,
    limit: u64,
    work: u64,
}

impl Meter {
    /// A meter that stops at so many units.
    pub fn new(limit: u64) -> Self {
        Self { cost: 0, limit, work: 0 }
    }

    /// What was spent.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    pub(crate) fn charge(&mut self, units: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(units);
        if self.cost > self.limit { Err(EvalError::CostExceeded) } else { Ok(()) }
    }

    /// Counts copied or compared values.
    pub(crate) fn work(&mut self, values: usize) -> Result<(), EvalError> {
        self.work = self.work.saturating_add(values as u64);
        if self.work > WORK_MAX { Err(EvalError::CostExceeded) } else { Ok(()) }
    }

    /// How much work is left.
    pub(crate) fn left(&self) -> usize {
        usize::try_from(WORK_MAX.saturating_sub(self.work) + 1).unwrap_or(usize::MAX)
    }
}
