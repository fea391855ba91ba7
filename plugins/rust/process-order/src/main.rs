//! Checks and prices an order: a classic background job of a shop's web server.

mod order;
mod price;

use jobwright_guest::JobError;

use order::Order;
use price::Invoice;

#[jobwright_guest::job]
fn process_order(order: Order) -> Result<Invoice, JobError> {
    let faults = order.faults();
    if !faults.is_empty() {
        return Err(JobError::permanent(format!("invalid order: {}", faults.join("; "))));
    }
    let invoice = Invoice::of(order);
    eprintln!("{}: {} cents ({})", invoice.order_id, invoice.total, invoice.currency);
    Ok(invoice)
}

#[cfg(test)]
mod tests {
    use jobwright_guest::{FromRequest as _, Request};

    use super::*;

    /// Processes a payload.
    fn process(payload: impl Into<Vec<u8>>) -> Result<Invoice, JobError> {
        process_order(Order::from_request(Request::new(payload))?)
    }

    #[test]
    fn an_order_becomes_an_invoice() {
        let order = serde_json::json!({
            "order_id": "A-1001", "currency": "EUR",
            "customer": {"email": "ada@example.com", "country": "DE"},
            "lines": [{"sku": "PEN", "quantity": 10, "unit_price": 199}],
        });
        let invoice = process(order.to_string()).unwrap();
        assert_eq!(
            serde_json::to_value(invoice).unwrap(),
            serde_json::json!({
                "order_id": "A-1001", "currency": "EUR",
                "customer": {"email": "ada@example.com", "country": "DE"},
                "lines": [{"sku": "PEN", "quantity": 10, "unit_price": 199,
                           "discount": 100, "total": 1890}],
                "subtotal": 1990, "discount": 100, "shipping": 490,
                "tax_percent": 19, "tax": 452, "total": 2832,
            })
        );
    }

    #[test]
    fn an_invalid_order_fails_for_good_and_names_every_fault() {
        let order = serde_json::json!({
            "order_id": "", "currency": "XXX", "customer": {"email": "ada", "country": "DE"},
            "lines": [{"sku": "PEN", "quantity": 0, "unit_price": -5}], "coupon": "FREE",
        });
        let error = process(order.to_string()).unwrap_err();
        assert!(!error.is_retry());
        for place in
            ["order_id", "currency", "customer.email", "quantity", "lines[0].unit_price", "coupon"]
        {
            assert!(error.to_string().contains(place), "{place} is not in: {error}");
        }
    }

    #[test]
    fn a_price_that_is_not_in_whole_cents_is_refused() {
        let payload = r#"{"order_id":"A","currency":"EUR","customer":{"email":"a@b","country":"DE"},
            "lines":[{"sku":"PEN","quantity":1,"unit_price":1.99}]}"#;
        assert!(!process(payload).unwrap_err().is_retry());
    }
}
