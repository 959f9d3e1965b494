//! What a SQLite shell can do to a table: every edit of its rows, made from the schema.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// A table as the file describes it.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) columns: Vec<String>,
    /// Which columns make the key.
    pub(super) key: Vec<usize>,
    pub(super) rows: Vec<Vec<Value>>,
}

impl Table {
    pub(super) fn all(path: &Path) -> Vec<Self> {
        let connection = Connection::open(path).expect("opened");
        let mut query = connection
            .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
            .expect("prepared");
        let named = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let named: Vec<(String, String)> = named.and_then(Iterator::collect).expect("tables");
        named
            .into_iter()
            .map(|(name, sql)| Self::read(&connection, name, sql))
            .collect()
    }

    pub(super) fn read(connection: &Connection, name: String, sql: String) -> Self {
        let mut info = connection
            .prepare(&format!("PRAGMA table_info({name})"))
            .expect("prepared");
        let described = info.query_map([], |row| Ok((row.get(1)?, row.get(5)?)));
        let described: Vec<(String, i64)> = described.and_then(Iterator::collect).expect("columns");
        let columns: Vec<String> = described.iter().map(|(name, _)| name.clone()).collect();
        let key = (0..columns.len()).filter(|place| described[*place].1 > 0);
        let key: Vec<usize> = key.collect();
        let mut query = connection
            .prepare(&format!("SELECT * FROM {name}"))
            .expect("prepared");
        let rows = query
            .query_map([], |row| (0..columns.len()).map(|at| row.get(at)).collect())
            .and_then(Iterator::collect)
            .expect("rows");
        Self {
            name,
            sql,
            columns,
            key,
            rows,
        }
    }

    pub(super) fn place(&self, column: usize) -> String {
        format!("{}.{}", self.name, self.columns[column])
    }

    pub(super) fn condition(&self) -> String {
        let key = self
            .key
            .iter()
            .map(|at| format!("{} = ?", self.columns[*at]));
        key.collect::<Vec<String>>().join(" AND ")
    }

    pub(super) fn key_of(&self, row: &[Value]) -> Vec<Value> {
        self.key.iter().map(|at| row[*at].clone()).collect()
    }

    /// Few rows stand for many that are alike.
    pub(super) fn samples(&self) -> Vec<usize> {
        const MOST: usize = 7;
        let count = self.rows.len();
        let step = count.div_ceil(MOST).max(1);
        (0..count)
            .step_by(step)
            .chain(count.checked_sub(1))
            .collect()
    }

    /// Values that somebody might put there.
    pub(super) fn candidates(&self, column: usize, value: &Value) -> Vec<Value> {
        let mut values = vec![Value::Null];
        match value {
            Value::Integer(number) => {
                values.extend([number + 1, number - 1, 0, 1].map(Value::Integer));
            }
            Value::Text(text) => {
                values.push(Value::Text(format!("{text}x")));
                values.push(Value::Text(String::new()));
                let words = self.sql.split('\'').skip(1).step_by(2);
                values.extend(words.map(|word| Value::Text(word.to_owned())));
            }
            Value::Blob(octets) => {
                let mut flipped = octets.clone();
                if let Some(last) = flipped.last_mut() {
                    *last ^= 1;
                }
                values.extend([Value::Blob(flipped), Value::Blob(vec![])]);
            }
            Value::Null => values.extend([Value::Integer(1), Value::Text("x".to_owned())]),
            Value::Real(_) => {}
        }
        let others = self.rows.iter().map(|row| row[column].clone()).take(4);
        values.extend(others);
        values.retain(|candidate| candidate != value);
        values.dedup();
        values
    }
}

/// One edit: the column it is about, if it is about one, and what makes it.
pub(super) struct Edit {
    pub(super) table: String,
    pub(super) column: Option<String>,
    pub(super) kind: String,
    pub(super) statements: Vec<(String, Vec<Value>)>,
}

impl Edit {
    pub(super) fn excepted(
        &self,
        list: &'static [(&'static str, &'static str)],
    ) -> Option<&'static str> {
        let place = match &self.column {
            Some(column) => format!("{}.{column}", self.table),
            None if self.kind.ends_with(" added") => format!("{} (added)", self.table),
            None => self.table.clone(),
        };
        let mut excepted = list.iter().map(|(what, _)| *what);
        excepted.find(|what| *what == self.table || *what == place)
    }

    /// Makes it, as far as SQLite lets one; says whether it did.
    pub(super) fn make(&self, path: &Path) -> bool {
        let connection = Connection::open(path).expect("opened");
        let mut query = connection
            .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
            .expect("prepared");
        let triggers = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let triggers: Vec<(String, String)> =
            triggers.and_then(Iterator::collect).expect("triggers");
        drop(query);
        for (trigger, _) in &triggers {
            let drop = format!("DROP TRIGGER {trigger}");
            connection.execute_batch(&drop).expect("dropped");
        }
        connection
            .execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; BEGIN")
            .expect("set");
        let made = self
            .statements
            .iter()
            .all(|(sql, values)| connection.execute(sql, params_from_iter(values)).is_ok());
        let made = made && connection.execute_batch("COMMIT").is_ok();
        // As they were: the edit is to be found, not what it took.
        for (_, trigger) in &triggers {
            connection.execute_batch(trigger).expect("made again");
        }
        made
    }
}

pub(super) fn edits(table: &Table) -> Vec<Edit> {
    let mut edits = Vec::new();
    let samples: BTreeSet<usize> = table.samples().into_iter().collect();
    for at in samples {
        let row = &table.rows[at];
        for column in 0..table.columns.len() {
            for value in table.candidates(column, &row[column]) {
                edits.push(changed(table, row, column, value));
            }
        }
        edits.push(removed(table, row));
        for key in &table.key {
            edits.extend(added(table, row, *key));
        }
        let next = &table.rows[(at + 1) % table.rows.len()];
        edits.extend(swapped(table, row, next));
    }
    edits
}

pub(super) fn changed(table: &Table, row: &[Value], column: usize, value: Value) -> Edit {
    let name = &table.columns[column];
    let sql = format!(
        "UPDATE {} SET {name} = ? WHERE {}",
        table.name,
        table.condition()
    );
    let kind = format!("{name} of {:?} to {value:?}", table.key_of(row));
    let values = std::iter::once(value).chain(table.key_of(row)).collect();
    Edit {
        table: table.name.clone(),
        column: Some(name.clone()),
        kind,
        statements: vec![(sql, values)],
    }
}

pub(super) fn removed(table: &Table, row: &[Value]) -> Edit {
    let sql = format!("DELETE FROM {} WHERE {}", table.name, table.condition());
    Edit {
        table: table.name.clone(),
        column: None,
        kind: format!("{:?} removed", table.key_of(row)),
        statements: vec![(sql, table.key_of(row))],
    }
}

/// The same row once more, with another value in one column of its key; other unique columns get another
/// value too.
pub(super) fn added(table: &Table, row: &[Value], key: usize) -> Option<Edit> {
    let mut new = row.to_vec();
    for (place, value) in new.iter_mut().enumerate() {
        let is_unique = matches!(
            (table.name.as_str(), table.columns[place].as_str()),
            ("batch" | "plan", "name") | ("generation", "number") | ("ascending_serials", "least")
        );
        if !is_unique && key != place {
            continue;
        }
        match value {
            Value::Integer(number) => *number += 1000,
            Value::Text(text) => text.push('x'),
            Value::Blob(octets) => octets.push(0),
            Value::Null | Value::Real(_) => return None,
        }
    }
    let marks = vec!["?"; new.len()].join(", ");
    Some(Edit {
        table: table.name.clone(),
        column: None,
        kind: format!("{:?} added", table.key_of(&new)),
        statements: vec![(format!("INSERT INTO {} VALUES ({marks})", table.name), new)],
    })
}

/// Two rows with everything but their keys exchanged.
pub(super) fn swapped(table: &Table, one: &[Value], other: &[Value]) -> Option<Edit> {
    let rest: Vec<usize> = (0..table.columns.len())
        .filter(|at| !table.key.contains(at))
        .collect();
    if rest.iter().all(|at| one[*at] == other[*at]) {
        return None;
    }
    // Out of the way first, since columns may be unique.
    let place = table.key.last()?;
    let away = match &one[*place] {
        Value::Integer(_) => Value::Integer(1_000_000),
        Value::Text(_) => Value::Text("away".to_owned()),
        _ => Value::Blob(vec![0xff; 20]),
    };
    let sql = format!(
        "UPDATE {} SET {} = ? WHERE {}",
        table.name,
        table.columns[*place],
        table.condition()
    );
    let step = |from: &[Value], to: &Value| {
        let values = std::iter::once(to.clone())
            .chain(table.key_of(from))
            .collect();
        (sql.clone(), values)
    };
    let mut hidden = one.to_vec();
    hidden[*place] = away.clone();
    if table.key.len() > 1 && table.key_of(one)[0] != table.key_of(other)[0] {
        return None;
    }
    Some(Edit {
        table: table.name.clone(),
        column: None,
        kind: format!(
            "{:?} and {:?} swapped",
            table.key_of(one),
            table.key_of(other)
        ),
        statements: vec![
            step(one, &away),
            step(other, &one[*place]),
            step(&hidden, &other[*place]),
        ],
    })
}
