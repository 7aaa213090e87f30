//! All that waits as one HTML page: self-contained, nothing fetched and nothing run, in the reader's light or dark.
//! Layout is in `templates/page.html`; every text is escaped by the template engine.

use minijinja::{
    AutoEscape, Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig, value::Serde,
};
use serde::Serialize;

use super::view::Margins;
use super::{Standing, View};

/// Width of the longest bar, in the units of the drawing.
const BAR_UNITS: f64 = 100.0;

/// The page's text.
pub fn render(views: &[View]) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("percent", |share: Option<f64>| {
        share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", 100.0 * share))
    });
    environment.add_template("page", include_str!("templates/page.html"))?;
    let cards: Vec<_> = views.iter().map(Card::of).collect();
    let count = |standings: &[Standing]| {
        let among = |view: &&View| {
            view.standing
                .is_some_and(|standing| standings.contains(&standing))
        };
        views.iter().filter(among).count()
    };
    let html = environment.get_template("page")?.render(context! {
        simulated => views.iter().any(|view| view.simulated),
        cards => Value::from(Serde(&cards)),
        new => count(&[Standing::New]),
        explained => count(&[Standing::Identical, Standing::SameText, Standing::NearTie]),
        unexplained => count(&[Standing::Divergent, Standing::Incomparable]),
        unreadable => views.iter().filter(|view| view.standing.is_none()).count(),
        reasons => views.iter().filter(|view| view.reason_needed.is_some()).count(),
    })?;
    Ok(html + "\n")
}

/// A view and what only the page needs of it.
#[derive(Serialize)]
struct Card<'a> {
    view: &'a View,
    /// Fragment of its address.
    anchor: String,
    /// Colour of its verdict.
    class: &'static str,
    /// What its verdict is called in the list.
    word: &'a str,
    /// Why a reason is needed.
    needs: Option<&'static str>,
    bars: Option<Bars>,
}

/// The margins drawn.
#[derive(Serialize)]
struct Bars {
    position: usize,
    near_tie_nat: f64,
    /// Where the bound of a near tie stands.
    tick: f64,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    side: &'static str,
    token: String,
    words: String,
    length: f64,
    within: bool,
}

impl<'a> Card<'a> {
    fn of(view: &'a View) -> Self {
        Self {
            view,
            anchor: view.name.replace('/', "."),
            class: match view.standing {
                Some(Standing::Identical | Standing::SameText | Standing::NearTie) => "good",
                Some(Standing::New) => "new",
                Some(Standing::Divergent | Standing::Incomparable) | None => "bad",
            },
            word: view.verdict.split(':').next().unwrap_or_default(),
            needs: view.reason_needed.map(super::ReasonNeeded::words),
            bars: view.margins.as_ref().map(Bars::of),
        }
    }
}

impl Bars {
    fn of(margins: &Margins) -> Self {
        let scaled = |nat: f64| (nat / margins.range_nat * BAR_UNITS * 10.0).round() / 10.0;
        let rows = margins.sides.iter().map(|bar| Row {
            side: bar.side,
            token: bar.token.clone(),
            words: View::margin_words(bar),
            length: bar.nat.map_or(0.0, |nat| scaled(nat.max(0.0)).max(0.5)),
            within: bar.nat.is_some_and(|nat| nat <= margins.near_tie_nat) && !bar.at_least,
        });
        Self {
            position: margins.position,
            near_tie_nat: margins.near_tie_nat,
            tick: scaled(margins.near_tie_nat),
            rows: rows.collect(),
        }
    }
}
