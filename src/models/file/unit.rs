//! Which values do the keys of a block have?

use crate::models::ModelError;
use crate::models::design::Blocks;
use crate::models::excite::SqueezeExcite;
use crate::models::preact::PROJECTED;
use crate::models::request::{Choice, ModelRequest, name_of};
use crate::models::residual::{BranchConv, Connection, Dropout, ORDERS, Order, UnitDesign};
use crate::models::shortcut::Shortcut;
use crate::models::skip::Skip;

/// The keys of a block that have one word or number, in the order in which they
/// are written.
pub const KEYS: [&str; 8] = [
    "order",
    "shortcut",
    "project",
    "skip",
    "gate-bias",
    "se",
    "dropout",
    "dropout-at",
];

/// What a block is where its keys are not given: post-activation, with a
/// projection where the shape changes.
const USUAL: (Order, Connection) = (Order::Original, Connection::Shortcut(Shortcut::Project));

/// The orders by the names that files have for them, the usual name first.
fn orders() -> Vec<(&'static str, Order)> {
    let short = [("post", Order::Original), ("pre", Order::Full)];
    short.into_iter().chain(ORDERS).collect()
}

/// The block with these convolutions that `request` asks for.
pub fn read(request: &mut ModelRequest, convs: Vec<BranchConv>, strided: usize) -> Result<UnitDesign, ModelError> {
    let order = request.choose("order", &orders())?;
    let connection = request.choose("shortcut", &Connection::all())?;
    Ok(UnitDesign {
        convs,
        strided,
        order: order.unwrap_or(USUAL.0),
        connection: connection.unwrap_or(USUAL.1),
        project_raw: request.choose("project", &PROJECTED)?.unwrap_or(false),
        skip: Skip::read(request)?,
        excite: SqueezeExcite::read(request, None)?,
        dropout: Dropout::read(request)?,
    })
}

/// The value of each key.
pub fn choices(unit: &UnitDesign) -> Vec<Choice> {
    let orders = orders();
    let connections = Connection::all();
    let mut choices = vec![
        Choice::new("order", name_of(unit.order, &orders), name_of(USUAL.0, &orders)),
        Choice::new(
            "shortcut",
            name_of(unit.connection, &connections),
            name_of(USUAL.1, &connections),
        ),
        Choice::new("project", name_of(unit.project_raw, &PROJECTED), "activated"),
    ];
    choices.extend(unit.skip.choices());
    choices.push(SqueezeExcite::choice(unit.excite));
    choices.extend(unit.dropout.choices());
    choices
}

/// The key and the value of each choice.
pub fn values(unit: &UnitDesign) -> impl Iterator<Item = (String, String)> {
    choices(unit)
        .into_iter()
        .map(|choice| (choice.option.to_string(), choice.value))
}

/// Gives what has no effect its default.
pub fn normalise(blocks: &mut Blocks) {
    let unit = &mut blocks.unit;
    if blocks.stride == 1 {
        unit.strided = 0;
    }
    if unit.order != Order::Full {
        unit.project_raw = false;
    }
    if unit.dropout.p == 0.0 {
        unit.dropout = Dropout::NONE;
    }
}
