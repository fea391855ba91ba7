//! The price of an order. All amounts are whole cents, so no rounding of floats occurs.

use serde::Serialize;

use crate::order::{Customer, Line, Order, Shipping};

/// Volume discounts: the minimum number of pieces of an article, and the discount in percent; the first
/// that applies.
const VOLUME_DISCOUNTS: [(i64, i64); 2] = [(100, 10), (10, 5)];

/// The amount after discounts from which standard shipping is free.
const FREE_SHIPPING_FROM: i64 = 5_000;

/// The priced order. All amounts are in cents; `total` is the only one with tax.
#[derive(Debug, Serialize)]
pub struct Invoice {
    pub order_id: String,
    pub customer: Customer,
    pub currency: String,
    lines: Vec<PricedLine>,
    /// Before discounts.
    subtotal: i64,
    /// The discounts of the lines and of the coupon.
    discount: i64,
    shipping: i64,
    tax_percent: i64,
    tax: i64,
    pub total: i64,
}

#[derive(Debug, Serialize)]
struct PricedLine {
    sku: String,
    quantity: i64,
    unit_price: i64,
    discount: i64,
    total: i64,
}

impl Invoice {
    /// Prices an order that has no faults.
    pub fn of(order: Order) -> Self {
        let lines: Vec<PricedLine> = order.lines.into_iter().map(PricedLine::of).collect();
        let subtotal = lines.iter().map(|line| line.quantity * line.unit_price).sum();
        let after_volume: i64 = lines.iter().map(|line| line.total).sum();
        let coupon = order.coupon.as_deref().and_then(Coupon::find);
        let goods = after_volume - coupon.map_or(0, |coupon| coupon.discount(after_volume));
        let shipping = match (order.shipping, coupon) {
            (Shipping::Standard, Some(Coupon::FreeShipping)) => 0,
            (Shipping::Standard, _) if goods >= FREE_SHIPPING_FROM => 0,
            (Shipping::Standard, _) => 490,
            (Shipping::Express, _) => 1_490,
        };
        let tax_percent = tax_percent(&order.customer.country).unwrap_or_default();
        let tax = percent(goods + shipping, tax_percent);
        Self {
            order_id: order.order_id,
            customer: order.customer,
            currency: order.currency,
            lines,
            subtotal,
            discount: subtotal - goods,
            shipping,
            tax_percent,
            tax,
            total: goods + shipping + tax,
        }
    }
}

impl PricedLine {
    fn of(Line { sku, quantity, unit_price }: Line) -> Self {
        let full = quantity * unit_price;
        let applies = VOLUME_DISCOUNTS.iter().find(|(from, _)| quantity >= *from);
        let discount = applies.map_or(0, |(_, off)| percent(full, *off));
        Self { sku, quantity, unit_price, discount, total: full - discount }
    }
}

/// The reduction of a coupon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coupon {
    /// A discount in percent.
    Percent(i64),
    /// A discount in cents, at most the price of the goods.
    Amount(i64),
    /// Free standard shipping.
    FreeShipping,
}

impl Coupon {
    /// The coupon with this code, if there is one.
    pub fn find(code: &str) -> Option<Self> {
        match code {
            "WELCOME10" => Some(Self::Percent(10)),
            "FIVEOFF" => Some(Self::Amount(500)),
            "FREESHIP" => Some(Self::FreeShipping),
            _ => None,
        }
    }

    fn discount(self, goods: i64) -> i64 {
        match self {
            Self::Percent(off) => percent(goods, off),
            Self::Amount(off) => off.min(goods),
            Self::FreeShipping => 0,
        }
    }
}

/// The tax in `country`, if the shop ships there.
pub fn tax_percent(country: &str) -> Option<i64> {
    match country {
        "DE" => Some(19),
        "AT" | "FR" | "GB" => Some(20),
        "BE" | "ES" | "NL" => Some(21),
        "IT" => Some(22),
        "IE" | "PL" | "PT" => Some(23),
        // Sales tax of the United States is not collected.
        "CH" | "US" => Some(0),
        _ => None,
    }
}

/// A percentage of a non-negative amount; half a cent is rounded up.
fn percent(cents: i64, percent: i64) -> i64 {
    (cents * percent + 50) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(quantity: i64, unit_price: i64) -> Order {
        Order {
            order_id: "A".into(),
            customer: Customer { email: "ada@example.com".into(), country: "US".into() },
            currency: "USD".into(),
            lines: vec![Line { sku: "PEN".into(), quantity, unit_price }],
            coupon: None,
            shipping: Shipping::Standard,
        }
    }

    fn with_coupon(code: &str, order: Order) -> Invoice {
        Invoice::of(Order { coupon: Some(code.into()), ..order })
    }

    #[test]
    fn half_a_cent_is_rounded_up() {
        assert_eq!([percent(50, 19), percent(49, 1), percent(150, 1)], [10, 0, 2]);
    }

    #[test]
    fn volume_is_discounted_before_the_coupon() {
        let invoice = with_coupon("WELCOME10", order(100, 100));
        assert_eq!((invoice.subtotal, invoice.discount, invoice.total), (10_000, 1_900, 8_100));
    }

    #[test]
    fn a_coupon_never_gives_money_back() {
        let invoice = with_coupon("FIVEOFF", order(1, 300));
        assert_eq!((invoice.discount, invoice.total), (300, 490));
    }

    #[test]
    fn standard_shipping_is_free_by_coupon_or_from_a_sum_on() {
        assert_eq!(Invoice::of(order(1, 4_999)).shipping, 490);
        assert_eq!(Invoice::of(order(1, 5_000)).shipping, 0);
        assert_eq!(with_coupon("FREESHIP", order(1, 1)).shipping, 0);
        let express = Order { shipping: Shipping::Express, ..order(1, 5_000) };
        assert_eq!(with_coupon("FREESHIP", express).shipping, 1_490);
    }

    #[test]
    fn the_largest_order_does_not_overflow() {
        let line =
            |n: usize| Line { sku: n.to_string(), quantity: 10_000, unit_price: 100_000_000 };
        let largest = Order { lines: (0..500).map(line).collect(), ..order(1, 1) };
        assert_eq!(Invoice::of(largest).subtotal, 500_000_000_000_000);
    }
}
