//! Checks an order and says what it costs: the classic job that a shop's web server must not wait
//! for.

mod order;
mod price;

use std::process::ExitCode;

use jobwright_guest::{JobError, Request, Response, command};

use order::Order;
use price::Invoice;

fn main() -> ExitCode {
    command(|request| {
        let invoice = process(&request)?;
        eprintln!("{}: {} cents ({})", invoice.order_id, invoice.total, invoice.currency);
        Response::json(&invoice)
    })
}

fn process(request: &Request) -> Result<Invoice, JobError> {
    let order: Order = request.json()?;
    let faults = order.faults();
    if !faults.is_empty() {
        return Err(JobError::permanent(format!("invalid order: {}", faults.join("; "))));
    }
    Ok(Invoice::of(order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_becomes_an_invoice() {
        let order = serde_json::json!({
            "order_id": "A-1001", "currency": "EUR",
            "customer": {"email": "ada@example.com", "country": "DE"},
            "lines": [{"sku": "PEN", "quantity": 10, "unit_price": 199}],
        });
        let invoice = process(&Request::new(order.to_string())).unwrap();
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
        let error = process(&Request::new(order.to_string())).unwrap_err();
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
        assert!(!process(&Request::new(payload)).unwrap_err().is_retry());
    }
}
