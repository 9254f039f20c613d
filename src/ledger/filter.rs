//! What is looked for, as SQL. Values are only ever bound; the text of a query holds none.

use rusqlite::types::Value;

use super::rows;
use crate::domain::query::{Filter, KeyRange, Sort, Test};

/// What a list is ordered by, as the migration's indexes have it. A number that is not known counts as -1.
pub(super) const fn expression(sort: Sort) -> &'static str {
    match sort {
        Sort::Time => "created_at",
        Sort::Amount => "coalesce(price_msat, -1)",
        Sort::Status => "status",
        Sort::Tokens => "coalesce(completion_tokens, -1)",
        Sort::Seconds => "coalesce(elapsed_ms, -1)",
    }
}

/// The condition of a filter and the values it binds, in order.
pub(super) fn condition(filter: &Filter) -> (String, Vec<Value>) {
    let mut sql = String::from("1");
    let mut values = Vec::new();
    for term in &filter.terms {
        sql.push_str(if term.not { " AND NOT (" } else { " AND (" });
        test(&term.test, &mut sql, &mut values);
        sql.push(')');
    }
    (sql, values)
}

fn test(test: &Test, sql: &mut String, values: &mut Vec<Value>) {
    let mut one = |text: &str, value: Value| {
        sql.push_str(text);
        values.push(value);
    };
    match test {
        Test::Status(statuses) => {
            let places = vec!["?"; statuses.len()].join(", ");
            sql.push_str("status IN (");
            sql.push_str(&places);
            sql.push(')');
            values.extend(
                statuses
                    .iter()
                    .map(|status| Value::Text(status.as_str().to_owned())),
            );
        }
        Test::Model(name) => one("instr(lower(model), ?) > 0", Value::Text(name.clone())),
        Test::Buyer(range) => within("buyer", range, sql, values),
        Test::Kind(kind) => one("kind = ?", Value::Integer((*kind).into())),
        Test::Since(at) => one("created_at >= ?", Value::Integer(at.0)),
        Test::Before(at) => one("created_at < ?", Value::Integer(at.0)),
        Test::Min(least) => one(
            "coalesce(price_msat, -1) >= ?",
            Value::Integer(rows::int(*least)),
        ),
        Test::Max(most) => one(
            "coalesce(price_msat, -1) BETWEEN 0 AND ?",
            Value::Integer(rows::int(*most)),
        ),
        Test::Word { text, hex, npub } => {
            one("instr(lower(model), ?) > 0", Value::Text(text.clone()));
            one(" OR instr(status, ?) = 1", Value::Text(text.clone()));
            one(" OR CAST(kind AS TEXT) = ?", Value::Text(text.clone()));
            for (column, range) in [("id", hex), ("buyer", hex), ("buyer", npub)] {
                if let Some(range) = range {
                    sql.push_str(" OR ");
                    within(column, range, sql, values);
                }
            }
        }
    }
}

fn within(column: &str, range: &KeyRange, sql: &mut String, values: &mut Vec<Value>) {
    sql.push_str(column);
    sql.push_str(" BETWEEN ? AND ?");
    values.push(Value::Blob(range.lo.to_vec()));
    values.push(Value::Blob(range.hi.to_vec()));
}
