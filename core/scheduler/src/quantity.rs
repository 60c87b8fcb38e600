//! Quantities as the scheduler counts them: whole units or thousandths, rounded up.

use hansa_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use hansa_api::quantity;

/// The API's quantity.
pub type Q = Quantity;

/// The quantity in whole units (bytes, pieces), rounded up; 0 if it is malformed.
pub fn units(quantity: &Q) -> i64 {
    quantity.0.parse().map_or(0, |q: quantity::Quantity| q.value())
}

/// The quantity in thousandths (milli-CPU), rounded up; 0 if it is malformed.
pub fn milli(quantity: &Q) -> i64 {
    quantity.0.parse().map_or(0, |q: quantity::Quantity| q.milli_value())
}
