//! Converts minijinja's syntax tree into our own, and rejects what prompts may not use.
//!
//! Our tree owns its strings, has closed sets of filters and tests, and contains nothing that could recurse, capture a
//! block, define a function or load another template.

use std::collections::BTreeSet;

use minijinja::machinery::{ast, parse};
use serde_json::Value;

use crate::budget::Fault;
use crate::guard::syntax;
use crate::vocabulary::{self, FilterKind, TestKind};

/// A node of a template.
#[derive(Debug)]
pub(super) enum Node {
    Raw(String),
    Emit {
        line: u16,
        expr: Expr,
    },
    If {
        line: u16,
        test: Expr,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    For {
        line: u16,
        targets: Vec<String>,
        items: Expr,
        only_if: Option<Expr>,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// All values are evaluated before any of the names is bound, as in Jinja2.
    With {
        line: u16,
        names: Vec<String>,
        values: Vec<Expr>,
        body: Vec<Node>,
    },
}

/// An expression.
#[derive(Debug)]
pub(super) enum Expr {
    Const(Value),
    Var(String),
    Loop(LoopField),
    Attr(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Chain(Box<Expr>, Vec<(Operator, Expr)>),
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
    Filter(FilterKind, Box<Expr>, Vec<Option<Expr>>),
    Test(TestKind, Box<Expr>, Vec<Option<Expr>>),
    Range(Vec<Expr>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
}

/// A field of `loop`.
#[derive(Debug, Clone, Copy)]
pub(super) enum LoopField {
    Index,
    Index0,
    RevIndex,
    RevIndex0,
    First,
    Last,
    Length,
}

/// An operator that evaluates both of its sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
    Concat,
}

/// Parses a template that passed the guard; also returns its free names.
pub(super) fn lower(source: &str) -> Result<(Vec<Node>, BTreeSet<String>), Fault> {
    let tree = parse(source, "", syntax()?).map_err(|error| Fault::syntax(&error))?;
    let ast::Stmt::Template(template) = &tree else {
        return Err(Fault::refused("this is not a template".to_owned()));
    };
    let mut lowering = Lowering::default();
    let body = lowering.block(&template.children)?;
    Ok((body, lowering.undeclared))
}

#[derive(Default)]
struct Lowering {
    bound: Vec<String>,
    loops: usize,
    undeclared: BTreeSet<String>,
}

impl Lowering {
    fn block(&mut self, statements: &[ast::Stmt]) -> Result<Vec<Node>, Fault> {
        statements
            .iter()
            .map(|statement| self.statement(statement))
            .collect()
    }

    fn statement(&mut self, statement: &ast::Stmt) -> Result<Node, Fault> {
        let (line, node) = match statement {
            ast::Stmt::EmitRaw(raw) => return Ok(Node::Raw(raw.raw.to_owned())),
            ast::Stmt::EmitExpr(emit) => {
                let line = emit.span().start_line;
                (
                    line,
                    self.expr(&emit.expr).map(|expr| Node::Emit { line, expr }),
                )
            }
            ast::Stmt::IfCond(cond) => (cond.span().start_line, self.if_block(cond)),
            ast::Stmt::ForLoop(repeat) => (repeat.span().start_line, self.for_block(repeat)),
            ast::Stmt::WithBlock(with) => (with.span().start_line, self.with_block(with)),
            _ => (
                0,
                Err(Fault::refused(
                    "this statement is not available in prompts; use `if`, `for`, `with` or `raw`"
                        .to_owned(),
                )),
            ),
        };
        node.map_err(|fault| fault.on_line(line))
    }

    fn if_block(&mut self, cond: &ast::Spanned<ast::IfCond>) -> Result<Node, Fault> {
        Ok(Node::If {
            line: cond.span().start_line,
            test: self.expr(&cond.expr)?,
            then: self.block(&cond.true_body)?,
            otherwise: self.block(&cond.false_body)?,
        })
    }

    fn for_block(&mut self, repeat: &ast::Spanned<ast::ForLoop>) -> Result<Node, Fault> {
        if repeat.recursive {
            return Err(Fault::refused(
                "recursive loops are not available in prompts; write nested `for` loops".to_owned(),
            ));
        }
        let items = self.expr(&repeat.iter)?;
        let targets = match &repeat.target {
            ast::Expr::List(list) => list.items.iter().map(name_of).collect::<Result<_, _>>()?,
            target => vec![name_of(target)?],
        };
        let outer = self.bound.len();
        self.bound.extend(targets.iter().cloned());
        let only_if = repeat
            .filter_expr
            .as_ref()
            .map(|expr| self.expr(expr))
            .transpose()?;
        self.loops += 1;
        let body = self.block(&repeat.body)?;
        self.loops -= 1;
        self.bound.truncate(outer);
        let otherwise = self.block(&repeat.else_body)?;
        Ok(Node::For {
            line: repeat.span().start_line,
            targets,
            items,
            only_if,
            body,
            otherwise,
        })
    }

    fn with_block(&mut self, with: &ast::Spanned<ast::WithBlock>) -> Result<Node, Fault> {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (target, value) in &with.assignments {
            names.push(name_of(target)?);
            values.push(self.expr(value)?);
        }
        let outer = self.bound.len();
        self.bound.extend(names.iter().cloned());
        let body = self.block(&with.body)?;
        self.bound.truncate(outer);
        Ok(Node::With {
            line: with.span().start_line,
            names,
            values,
            body,
        })
    }

    fn boxed(&mut self, expr: &ast::Expr) -> Result<Box<Expr>, Fault> {
        self.expr(expr).map(Box::new)
    }

    fn maybe(&mut self, expr: Option<&ast::Expr>) -> Result<Option<Box<Expr>>, Fault> {
        expr.map(|expr| self.boxed(expr)).transpose()
    }

    fn exprs(&mut self, exprs: &[ast::Expr]) -> Result<Vec<Expr>, Fault> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn expr(&mut self, expr: &ast::Expr) -> Result<Expr, Fault> {
        Ok(match expr {
            ast::Expr::Var(var) if var.id == "loop" => {
                return Err(Fault::refused("`loop` is used inside a `for`, with one of its fields: `loop.index`, `index0`, `revindex`, `revindex0`, `first`, `last`, `length`".to_owned()));
            }
            ast::Expr::Var(var) => {
                if !self.bound.iter().any(|name| name == var.id) {
                    self.undeclared.insert(var.id.to_owned());
                }
                Expr::Var(var.id.to_owned())
            }
            ast::Expr::Const(constant) => Expr::Const(
                serde_json::to_value(&constant.value)
                    .map_err(|_| Fault::refused("this number is too large".to_owned()))?,
            ),
            ast::Expr::GetAttr(attr) => match &attr.expr {
                ast::Expr::Var(var) if var.id == "loop" && self.loops > 0 => {
                    Expr::Loop(loop_field(attr.name)?)
                }
                inner => Expr::Attr(self.boxed(inner)?, attr.name.to_owned()),
            },
            ast::Expr::GetItem(item) => {
                Expr::Item(self.boxed(&item.expr)?, self.boxed(&item.subscript_expr)?)
            }
            ast::Expr::Slice(slice) => Expr::Slice(
                self.boxed(&slice.expr)?,
                [
                    self.maybe(slice.start.as_ref())?,
                    self.maybe(slice.stop.as_ref())?,
                    self.maybe(slice.step.as_ref())?,
                ],
            ),
            ast::Expr::UnaryOp(unary) => match unary.op {
                ast::UnaryOpKind::Not => Expr::Not(self.boxed(&unary.expr)?),
                ast::UnaryOpKind::Neg => Expr::Neg(self.boxed(&unary.expr)?),
            },
            ast::Expr::BinOp(binary) => {
                let (left, right) = (self.boxed(&binary.left)?, self.boxed(&binary.right)?);
                match binary.op {
                    ast::BinOpKind::ScAnd => Expr::And(left, right),
                    ast::BinOpKind::ScOr => Expr::Or(left, right),
                    op => Expr::Binary(binary_operator(op), left, right),
                }
            }
            ast::Expr::Compare(compare) => {
                let first = self.boxed(&compare.expr)?;
                let rest = compare
                    .ops
                    .iter()
                    .map(|op| Ok((compare_operator(op.op), self.expr(&op.expr)?)));
                Expr::Chain(first, rest.collect::<Result<_, Fault>>()?)
            }
            ast::Expr::IfExpr(cond) => Expr::If(
                self.boxed(&cond.test_expr)?,
                self.boxed(&cond.true_expr)?,
                self.maybe(cond.false_expr.as_ref())?,
            ),
            ast::Expr::Filter(filter) => {
                let (kind, parameters) = vocabulary::find_filter(filter.name)?;
                let Some(input) = &filter.expr else {
                    return Err(Fault::refused(format!(
                        "the filter `{}` needs a value before it",
                        filter.name
                    )));
                };
                Expr::Filter(
                    kind,
                    self.boxed(input)?,
                    self.arguments(filter.name, parameters, &filter.args)?,
                )
            }
            ast::Expr::Test(test) => {
                let (kind, parameters) = vocabulary::find_test(test.name)?;
                Expr::Test(
                    kind,
                    self.boxed(&test.expr)?,
                    self.arguments(test.name, parameters, &test.args)?,
                )
            }
            ast::Expr::Call(call) => self.call(call)?,
            ast::Expr::List(list) => Expr::List(self.exprs(&list.items)?),
            ast::Expr::Tuple(tuple) => Expr::List(self.exprs(&tuple.items)?),
            ast::Expr::Map(map) => {
                let pairs = map.keys.iter().zip(&map.values);
                Expr::Map(
                    pairs
                        .map(|(key, value)| Ok((self.expr(key)?, self.expr(value)?)))
                        .collect::<Result<_, Fault>>()?,
                )
            }
        })
    }

    fn call(&mut self, call: &ast::Call) -> Result<Expr, Fault> {
        let refused = |name: &str| {
            Fault::refused(format!(
                "`{name}` cannot be called in prompts; the only function is `range`, and filters are written `value | name`"
            ))
        };
        match call.identify_call() {
            ast::CallType::Function("range") if (1..=3).contains(&call.args.len()) => {
                let positional = |arg: &ast::CallArg| match arg {
                    ast::CallArg::Pos(expr) => self.expr(expr),
                    _ => Err(Fault::refused(
                        "`range` takes one to three plain numbers".to_owned(),
                    )),
                };
                call.args
                    .iter()
                    .map(positional)
                    .collect::<Result<_, _>>()
                    .map(Expr::Range)
            }
            ast::CallType::Function(name) | ast::CallType::Method(_, name) => Err(refused(name)),
            ast::CallType::Object(_) => Err(refused("this")),
        }
    }

    /// Puts arguments in the order of the parameters.
    fn arguments(
        &mut self,
        of: &str,
        parameters: &[&str],
        args: &[ast::CallArg],
    ) -> Result<Vec<Option<Expr>>, Fault> {
        let unfit = || {
            Fault::refused(match parameters {
                [] => format!("`{of}` takes no arguments"),
                _ => format!(
                    "`{of}` takes these arguments and no others: {}",
                    parameters.join(", ")
                ),
            })
        };
        let mut ordered: Vec<Option<Expr>> = parameters.iter().map(|_| None).collect();
        for (at, arg) in args.iter().enumerate() {
            let (slot, expr) = match arg {
                ast::CallArg::Pos(expr) => (ordered.get_mut(at), expr),
                ast::CallArg::Kwarg(name, expr) => {
                    let at = parameters.iter().position(|parameter| parameter == name);
                    (at.and_then(|at| ordered.get_mut(at)), expr)
                }
                _ => return Err(unfit()),
            };
            *slot.ok_or_else(unfit)? = Some(self.expr(expr)?);
        }
        Ok(ordered)
    }
}

fn name_of(target: &ast::Expr) -> Result<String, Fault> {
    match target {
        ast::Expr::Var(var) => Ok(var.id.to_owned()),
        _ => Err(Fault::refused(
            "only plain names can be given a value here".to_owned(),
        )),
    }
}

fn loop_field(name: &str) -> Result<LoopField, Fault> {
    Ok(match name {
        "index" => LoopField::Index,
        "index0" => LoopField::Index0,
        "revindex" => LoopField::RevIndex,
        "revindex0" => LoopField::RevIndex0,
        "first" => LoopField::First,
        "last" => LoopField::Last,
        "length" => LoopField::Length,
        _ => {
            return Err(Fault::refused(format!(
                "`loop.{name}` is not available; use index, index0, revindex, revindex0, first, last or length"
            )));
        }
    })
}

fn binary_operator(op: ast::BinOpKind) -> Operator {
    match op {
        ast::BinOpKind::Eq => Operator::Eq,
        ast::BinOpKind::Ne => Operator::Ne,
        ast::BinOpKind::Lt => Operator::Lt,
        ast::BinOpKind::Lte => Operator::Le,
        ast::BinOpKind::Gt => Operator::Gt,
        ast::BinOpKind::Gte => Operator::Ge,
        ast::BinOpKind::Sub => Operator::Sub,
        ast::BinOpKind::Mul => Operator::Mul,
        ast::BinOpKind::Div => Operator::Div,
        ast::BinOpKind::FloorDiv => Operator::FloorDiv,
        ast::BinOpKind::Rem => Operator::Rem,
        ast::BinOpKind::Pow => Operator::Pow,
        ast::BinOpKind::Concat => Operator::Concat,
        ast::BinOpKind::In => Operator::In,
        // The short-circuit operators are handled by the caller and never get here.
        ast::BinOpKind::Add | ast::BinOpKind::ScAnd | ast::BinOpKind::ScOr => Operator::Add,
    }
}

fn compare_operator(op: ast::CompareOpKind) -> Operator {
    match op {
        ast::CompareOpKind::Eq => Operator::Eq,
        ast::CompareOpKind::Ne => Operator::Ne,
        ast::CompareOpKind::Lt => Operator::Lt,
        ast::CompareOpKind::Lte => Operator::Le,
        ast::CompareOpKind::Gt => Operator::Gt,
        ast::CompareOpKind::Gte => Operator::Ge,
        ast::CompareOpKind::In => Operator::In,
        ast::CompareOpKind::NotIn => Operator::NotIn,
    }
}
