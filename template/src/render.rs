//! Evaluates a lowered template; every step and every byte is charged to the budget before it is spent.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

use crate::TemplateErrorKind;
use crate::budget::{Budget, Fault};
use crate::filters;
use crate::lower::{Expr, LoopField, Node, Operator};
use crate::value;
use crate::vocabulary::{FilterKind, TestKind};

const MAX_RANGE: i64 = 10_000;

/// The names of one block, linked to the enclosing blocks.
struct Scope<'s> {
    parent: Option<&'s Scope<'s>>,
    names: &'s [String],
    values: Vec<Cow<'s, Value>>,
    /// Index and length of the loop if this scope is one of its iterations.
    turn: Option<(usize, usize)>,
}

/// The result of an expression; `None` if it is undefined, which is an error where a value is needed.
pub(super) type Evaluated<'s> = Option<Cow<'s, Value>>;

/// The context that all expressions of one rendering share.
#[derive(Clone, Copy)]
pub(super) struct Context<'s> {
    variables: &'s Map<String, Value>,
    defaults: &'s Map<String, Value>,
    extra: Option<(&'s str, &'s Value)>,
    pub(super) budget: &'s Budget,
}

/// Renders a template to a string.
pub(super) fn render(
    body: &[Node],
    variables: &Map<String, Value>,
    defaults: &Map<String, Value>,
    extra: Option<(&str, &Value)>,
    budget: &Budget,
) -> Result<String, Fault> {
    let context = Context {
        variables,
        defaults,
        extra,
        budget,
    };
    let root = Scope {
        parent: None,
        names: &[],
        values: Vec::new(),
        turn: None,
    };
    let mut out = String::new();
    context.block(body, &root, &mut out)?;
    Ok(out)
}

impl<'s> Context<'s> {
    fn block(
        &self,
        nodes: &'s [Node],
        scope: &'s Scope<'s>,
        out: &mut String,
    ) -> Result<(), Fault> {
        for node in nodes {
            self.node(node, scope, out)?;
        }
        Ok(())
    }

    fn node(&self, node: &'s Node, scope: &'s Scope<'s>, out: &mut String) -> Result<(), Fault> {
        self.budget.step()?;
        match node {
            Node::Raw(text) => {
                self.budget.pay_output(text.len())?;
                out.push_str(text);
                Ok(())
            }
            Node::Emit { line, expr } => {
                let mut emit = || self.emit(&*self.need(expr, scope)?, out);
                emit().map_err(|fault| fault.on_line(*line))
            }
            Node::If {
                line,
                test,
                then,
                otherwise,
            } => {
                let holds = self
                    .holds(test, scope)
                    .map_err(|fault| fault.on_line(*line))?;
                self.block(if holds { then } else { otherwise }, scope, out)
            }
            Node::With {
                line,
                names,
                values,
                body,
            } => {
                let values = values
                    .iter()
                    .map(|value| self.need(value, scope))
                    .collect::<Result<_, _>>();
                let values = values.map_err(|fault: Fault| fault.on_line(*line))?;
                self.block(
                    body,
                    &Scope {
                        parent: Some(scope),
                        names,
                        values,
                        turn: None,
                    },
                    out,
                )
            }
            Node::For {
                line,
                targets,
                items,
                only_if,
                body,
                otherwise,
            } => {
                let turns = self.turns(targets, items, only_if.as_ref(), scope);
                let turns = turns.map_err(|fault| fault.on_line(*line))?;
                if turns.is_empty() {
                    return self.block(otherwise, scope, out);
                }
                let length = turns.len();
                for (at, values) in turns.into_iter().enumerate() {
                    let turn = Scope {
                        parent: Some(scope),
                        names: targets,
                        values,
                        turn: Some((at, length)),
                    };
                    self.block(body, &turn, out)?;
                }
                Ok(())
            }
        }
    }

    /// The values that each iteration of a loop binds.
    fn turns(
        &self,
        targets: &'s [String],
        items: &'s Expr,
        only_if: Option<&'s Expr>,
        scope: &'s Scope<'s>,
    ) -> Result<Vec<Vec<Cow<'s, Value>>>, Fault> {
        let mut turns = Vec::new();
        for item in value::items(self.need(items, scope)?, self.budget)? {
            self.budget.step()?;
            self.budget.pay(64)?;
            let values = match targets {
                [_] => vec![item],
                _ => value::items(item, self.budget)?,
            };
            if values.len() != targets.len() {
                return Err(Fault::value(format!(
                    "the loop names {} values and its items have {}",
                    targets.len(),
                    values.len()
                )));
            }
            let values = match only_if {
                None => values,
                Some(test) => {
                    let turn = Scope {
                        parent: Some(scope),
                        names: targets,
                        values,
                        turn: None,
                    };
                    // A shorter lifetime: the values of this iteration do not outlive the loop.
                    let narrow: Context<'_> = *self;
                    if !narrow.holds(test, &turn)? {
                        continue;
                    }
                    turn.values
                }
            };
            turns.push(values);
        }
        Ok(turns)
    }

    fn emit(&self, value: &Value, out: &mut String) -> Result<(), Fault> {
        let at = out.len();
        match value {
            Value::String(text) => {
                self.budget.pay_output(text.len())?;
                out.push_str(text);
                return Ok(());
            }
            Value::Null => out.push_str("none"),
            Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
            Value::Number(number) => {
                fmt::Write::write_fmt(out, format_args!("{number}"))
                    .map_err(|_| Fault::value("this number cannot be written"))?;
            }
            Value::Array(_) | Value::Object(_) => {
                let json = value::to_json(value, 0, self.budget)?;
                out.push_str(&json);
            }
        }
        self.budget.pay_output(out.len() - at)
    }

    fn holds(&self, expr: &'s Expr, scope: &'s Scope<'s>) -> Result<bool, Fault> {
        self.need(expr, scope).map(|value| value::is_true(&value))
    }

    /// Evaluates an expression that must have a value.
    fn need(&self, expr: &'s Expr, scope: &'s Scope<'s>) -> Result<Cow<'s, Value>, Fault> {
        self.eval(expr, scope)?.ok_or_else(|| {
            let name = describe(expr);
            Fault::new(
                TemplateErrorKind::Undefined,
                format!("`{name}` is not defined; add it to the item's variables or write `{{{{ {name} | default('…') }}}}`"),
            )
        })
    }

    fn number(&self, expr: &'s Expr, scope: &'s Scope<'s>) -> Result<i64, Fault> {
        let value = self.need(expr, scope)?;
        value
            .as_i64()
            .ok_or_else(|| Fault::value(format!("`{}` must be a whole number", describe(expr))))
    }

    fn eval(&self, expr: &'s Expr, scope: &'s Scope<'s>) -> Result<Evaluated<'s>, Fault> {
        self.budget.step()?;
        let value = match expr {
            Expr::Const(value) => return Ok(Some(Cow::Borrowed(value))),
            Expr::Var(name) => return self.lookup(name, scope),
            Expr::Loop(field) => loop_value(*field, scope),
            Expr::Attr(of, name) => {
                self.budget.pay(name.len())?;
                return Ok(value::attribute(self.need(of, scope)?, name));
            }
            Expr::Item(of, key) => {
                return value::item(self.need(of, scope)?, &*self.need(key, scope)?, self.budget);
            }
            Expr::Slice(of, bounds) => {
                let bound = |expr: &'s Option<Box<Expr>>| {
                    expr.as_ref()
                        .map(|expr| self.number(expr, scope))
                        .transpose()
                };
                let bounds = [bound(&bounds[0])?, bound(&bounds[1])?, bound(&bounds[2])?];
                value::slice(&*self.need(of, scope)?, bounds, self.budget)?
            }
            Expr::Not(of) => Value::Bool(!self.holds(of, scope)?),
            Expr::Neg(of) => value::negate(&*self.need(of, scope)?)?,
            Expr::And(left, right) => {
                let left = self.need(left, scope)?;
                return if value::is_true(&left) {
                    self.eval(right, scope)
                } else {
                    Ok(Some(left))
                };
            }
            Expr::Or(left, right) => {
                let left = self.need(left, scope)?;
                return if value::is_true(&left) {
                    Ok(Some(left))
                } else {
                    self.eval(right, scope)
                };
            }
            Expr::Binary(op, left, right) => value::operate(
                *op,
                &*self.need(left, scope)?,
                &*self.need(right, scope)?,
                self.budget,
            )?,
            Expr::Chain(first, rest) => Value::Bool(self.chain(first, rest, scope)?),
            Expr::If(test, then, otherwise) => {
                return match (self.holds(test, scope)?, otherwise) {
                    (true, _) => self.eval(then, scope),
                    (false, Some(otherwise)) => self.eval(otherwise, scope),
                    (false, None) => Ok(Some(Cow::Owned(Value::String(String::new())))),
                };
            }
            Expr::Filter(kind, of, args) => {
                let args = self.arguments(args, scope)?;
                let of = match kind {
                    FilterKind::Default => {
                        return Ok(Some(filters::default(self.eval(of, scope)?, args)));
                    }
                    _ => self.need(of, scope)?,
                };
                return filters::apply(*kind, of, &args, self.budget);
            }
            Expr::Test(kind, of, args) => {
                let args = self.arguments(args, scope)?;
                Value::Bool(match kind {
                    TestKind::Defined => self.eval(of, scope)?.is_some(),
                    TestKind::Undefined => self.eval(of, scope)?.is_none(),
                    _ => filters::test(*kind, &*self.need(of, scope)?, &args, self.budget)?,
                })
            }
            Expr::Range(args) => self.range(args, scope)?,
            Expr::List(items) => {
                let own = |item: &'s Expr| value::own(self.need(item, scope)?, self.budget);
                self.budget.pay(64 * items.len())?;
                Value::Array(items.iter().map(own).collect::<Result<_, _>>()?)
            }
            Expr::Map(pairs) => {
                let mut map = Map::new();
                for (key, item) in pairs {
                    let key = value::own(self.need(key, scope)?, self.budget)?;
                    let Value::String(key) = key else {
                        return Err(Fault::value("the keys of a map must be strings"));
                    };
                    self.budget.pay(640)?;
                    map.insert(key, value::own(self.need(item, scope)?, self.budget)?);
                }
                Value::Object(map)
            }
        };
        Ok(Some(Cow::Owned(value)))
    }

    /// `a < b < c`: each neighbouring pair must hold.
    fn chain(
        &self,
        first: &'s Expr,
        rest: &'s [(Operator, Expr)],
        scope: &'s Scope<'s>,
    ) -> Result<bool, Fault> {
        let mut left = self.need(first, scope)?;
        for (op, right) in rest {
            let right = self.need(right, scope)?;
            if value::operate(*op, &left, &right, self.budget)? == Value::Bool(false) {
                return Ok(false);
            }
            left = right;
        }
        Ok(true)
    }

    fn arguments(
        &self,
        args: &'s [Option<Expr>],
        scope: &'s Scope<'s>,
    ) -> Result<Vec<Evaluated<'s>>, Fault> {
        args.iter()
            .map(|arg| arg.as_ref().map(|arg| self.need(arg, scope)).transpose())
            .collect()
    }

    fn lookup(&self, name: &'s str, scope: &'s Scope<'s>) -> Result<Evaluated<'s>, Fault> {
        self.budget.pay(name.len())?;
        let mut here = Some(scope);
        while let Some(scope) = here {
            if let Some(at) = scope.names.iter().rposition(|bound| bound == name) {
                return Ok(scope.values.get(at).map(|value| Cow::Borrowed(&**value)));
            }
            here = scope.parent;
        }
        Ok(match self.extra {
            Some((extra, value)) if extra == name => Some(Cow::Borrowed(value)),
            _ => self
                .variables
                .get(name)
                .or_else(|| self.defaults.get(name))
                .map(Cow::Borrowed),
        })
    }

    fn range(&self, args: &'s [Expr], scope: &'s Scope<'s>) -> Result<Value, Fault> {
        let args = args
            .iter()
            .map(|arg| self.number(arg, scope))
            .collect::<Result<Vec<_>, _>>()?;
        let (start, stop, by) = match args.as_slice() {
            [stop] => (0, *stop, 1),
            [start, stop] => (*start, *stop, 1),
            [start, stop, by, ..] => (*start, *stop, *by),
            [] => (0, 0, 1),
        };
        let mut numbers = Vec::new();
        let mut at = start;
        while (by > 0 && at < stop) || (by < 0 && at > stop) {
            if i64::try_from(numbers.len()).is_ok_and(|made| made >= MAX_RANGE) {
                return Err(Fault::limit(format!(
                    "`range` makes at most {MAX_RANGE} numbers"
                )));
            }
            self.budget.pay(64)?;
            numbers.push(Value::from(at));
            at = at.saturating_add(by);
        }
        if by == 0 {
            return Err(Fault::value("the step of `range` must not be 0"));
        }
        Ok(Value::Array(numbers))
    }
}

fn loop_value(field: LoopField, scope: &Scope) -> Value {
    let mut here = Some(scope);
    while let Some(Scope {
        parent, turn: None, ..
    }) = here
    {
        here = *parent;
    }
    let (at, length) = here.and_then(|scope| scope.turn).unwrap_or_default();
    match field {
        LoopField::Index => Value::from(at + 1),
        LoopField::Index0 => Value::from(at),
        LoopField::RevIndex => Value::from(length - at),
        LoopField::RevIndex0 => Value::from(length - at - 1),
        LoopField::First => Value::Bool(at == 0),
        LoopField::Last => Value::Bool(at + 1 == length),
        LoopField::Length => Value::from(length),
    }
}

/// Names an expression in a message, such as `user.name`.
fn describe(expr: &Expr) -> String {
    match expr {
        Expr::Var(name) => name.chars().take(80).collect(),
        Expr::Attr(of, name) => format!(
            "{}.{}",
            describe(of),
            name.chars().take(80).collect::<String>()
        ),
        Expr::Item(of, key) => format!("{}[{}]", describe(of), describe(key)),
        Expr::Const(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        Expr::Const(Value::String(text)) => {
            format!("'{}'", text.chars().take(40).collect::<String>())
        }
        _ => "value".to_owned(),
    }
}
