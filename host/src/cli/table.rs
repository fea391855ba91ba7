//! Tables without borders. Some are fitted to the width of the terminal, or to 80 columns without one.

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

use super::terminal::printable;

/// The width without a terminal: the default width of terminals.
const WIDTH: usize = 80;

/// Spaces between two columns.
const GAP: usize = 2;

/// A table as wide as its contents.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let rows = rows.into_iter().map(|row| row.into_iter().map(|cell| plain(&cell)).collect());
    of_cells(header, rows)
}

/// A column of a fitted table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// The width below which the column is not cut.
    pub(super) min_width: usize,
}

/// A table that is no wider than the terminal: the last columns are cut first. `colour` returns the
/// colour of a cell, by its column and text.
pub(super) fn fitting(
    columns: &[Column],
    mut rows: Vec<Vec<String>>,
    colour: impl Fn(&str, &str) -> Option<Color>,
) -> Table {
    for cell in rows.iter_mut().flatten() {
        // A row is one line.
        *cell = printable(cell).replace(['\n', '\t'], " ");
    }
    let widths = widths(columns, &rows, width());
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let row = |row: Vec<String>| {
        let cells = row.iter().zip(&widths).zip(&titles).map(|((text, most), title)| {
            let cell = Cell::new(cut(text, *most));
            match colour(title, text) {
                Some(colour) => cell.fg(colour),
                None => cell,
            }
        });
        cells.collect()
    };
    of_cells(&titles, rows.into_iter().map(row))
}

fn plain(text: &str) -> Cell {
    Cell::new(printable(text))
}

fn of_cells(header: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    // See https://no-color.org.
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(|title| title.to_uppercase()));
    table.add_rows(rows);
    let last = header.len().saturating_sub(1);
    for (place, column) in table.column_iter_mut().enumerate() {
        // The last column needs no padding.
        column.set_padding((0, if place == last { 0 } else { GAP as u16 }));
    }
    table
}

/// The width of the terminal, if stdout is one.
fn width() -> usize {
    Table::new().width().map(usize::from).filter(|columns| *columns > 0).unwrap_or(WIDTH)
}

/// The widths of the columns, so that the table is at most `most` wide, if their minimum widths allow it.
fn widths(columns: &[Column], rows: &[Vec<String>], most: usize) -> Vec<usize> {
    let length = |text: &String| text.chars().count();
    let longest = |place: usize| rows.iter().filter_map(|row| row.get(place)).map(length).max();
    let mut widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| longest(place).unwrap_or(0).max(column.title.len()))
        .collect();
    let gaps = GAP * columns.len().saturating_sub(1);
    let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(most);
    for (width, column) in widths.iter_mut().zip(columns).rev() {
        let less = over.min(width.saturating_sub(column.min_width.max(column.title.len())));
        *width -= less;
        over -= less;
    }
    widths
}

/// `text` in at most `most` characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { title: "id", min_width: usize::MAX },
        Column { title: "plugin", min_width: 6 },
        Column { title: "error", min_width: 5 },
    ];

    #[test]
    fn the_last_columns_are_cut_first_and_none_below_its_minimum() {
        let rows = [vec!["0123456789".to_owned(), "word-count".to_owned(), "x".repeat(100)]];
        assert_eq!(widths(&COLUMNS, &rows, 200), [10, 10, 100]);
        assert_eq!(widths(&COLUMNS, &rows, 80), [10, 10, 56]);
        assert_eq!(widths(&COLUMNS, &rows, 28), [10, 9, 5]);
        assert_eq!(widths(&COLUMNS, &rows, 10), [10, 6, 5]);
    }

    #[test]
    fn cut_text_ends_with_an_ellipsis() {
        assert_eq!(cut("word-count", 10), "word-count");
        assert_eq!(cut("wörd-counts", 10), "wörd-coun…");
    }

    #[test]
    fn a_table_fits_80_columns_and_a_row_is_a_line() {
        let row = vec!["0123456789".to_owned(), "word-count".to_owned(), "a\nb ".repeat(50)];
        let shown = fitting(&COLUMNS, vec![row], |_, _| None).to_string();
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }
}
