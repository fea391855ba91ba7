//! An order, and the rules that it must keep.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::price::{Coupon, tax_percent};

/// Currencies whose unit has a hundred cents.
const CURRENCIES: [&str; 4] = ["CHF", "EUR", "GBP", "USD"];

const MAX_LINES: usize = 500;
const MAX_QUANTITY: i64 = 10_000;
/// A million in the currency's unit. With the two limits above, sums stay far below an `i64`.
const MAX_UNIT_PRICE: i64 = 100_000_000;

/// An order. Unknown fields are refused: a misspelt `coupon` would cost the customer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub order_id: String,
    pub customer: Customer,
    pub currency: String,
    pub lines: Vec<Line>,
    pub coupon: Option<String>,
    #[serde(default)]
    pub shipping: Shipping,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    pub email: String,
    /// The destination by ISO 3166, which decides the tax.
    pub country: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub sku: String,
    pub quantity: i64,
    /// In cents, without tax.
    pub unit_price: i64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shipping {
    #[default]
    Standard,
    Express,
}

impl Order {
    /// All faults of the order, so that they can be corrected at once.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, fault: &dyn Fn() -> String| {
            if !holds {
                faults.push(fault());
            }
        };
        check(!self.order_id.trim().is_empty(), &|| "order_id is empty".into());
        check(CURRENCIES.contains(&self.currency.as_str()), &|| {
            format!("currency `{}` is none of {}", self.currency, CURRENCIES.join(", "))
        });
        let email = &self.customer.email;
        check(is_address(email), &|| format!("customer.email `{email}` is not an address"));
        let country = &self.customer.country;
        check(tax_percent(country).is_some(), &|| {
            format!("customer.country `{country}` is not one that we ship to")
        });
        let lines = self.lines.len();
        check((1..=MAX_LINES).contains(&lines), &|| {
            format!("lines has {lines} entries, not 1 to {MAX_LINES}")
        });
        if let Some(code) = &self.coupon {
            check(Coupon::find(code).is_some(), &|| format!("coupon `{code}` does not exist"));
        }
        faults.extend(line_faults(&self.lines));
        faults
    }
}

fn line_faults(lines: &[Line]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = HashMap::new();
    for (at, Line { sku, quantity, unit_price }) in lines.iter().enumerate().take(MAX_LINES) {
        if sku.trim().is_empty() {
            faults.push(format!("lines[{at}].sku is empty"));
        } else if let Some(first) = seen.insert(sku, at) {
            faults.push(format!("lines[{at}].sku `{sku}` is that of lines[{first}]"));
        }
        if !(1..=MAX_QUANTITY).contains(quantity) {
            faults.push(format!("lines[{at}].quantity {quantity} is not 1 to {MAX_QUANTITY}"));
        }
        if !(0..=MAX_UNIT_PRICE).contains(unit_price) {
            faults
                .push(format!("lines[{at}].unit_price {unit_price} is not 0 to {MAX_UNIT_PRICE}"));
        }
    }
    faults
}

/// Whether this may be an e-mail address; only sending mail could prove it.
fn is_address(email: &str) -> bool {
    let bare = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    bare && email
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_article_names_both_lines() {
        let line = || Line { sku: "PEN".into(), quantity: 1, unit_price: 1 };
        assert_eq!(line_faults(&[line(), line()]), ["lines[1].sku `PEN` is that of lines[0]"]);
    }

    #[test]
    fn an_address_has_something_on_both_sides() {
        for bad in ["", "ada", "@example.com", "ada@", "ada@b@c", "ada @b"] {
            assert!(!is_address(bad), "{bad}");
        }
        assert!(is_address("ada@example.com"));
    }
}
