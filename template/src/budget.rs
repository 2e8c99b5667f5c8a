//! The budget of one rendering, and the errors when it is exceeded.

use std::cell::Cell;

use crate::{MAX_OUTPUT_BYTES, MAX_STEPS, MAX_WORK_BYTES, TemplateError, TemplateErrorKind};

/// An error, before the field at fault is known.
#[derive(Debug)]
pub(super) struct Fault {
    kind: TemplateErrorKind,
    line: Option<u16>,
    message: String,
}

impl Fault {
    pub(super) fn new(kind: TemplateErrorKind, message: String) -> Self {
        Self {
            kind,
            line: None,
            message,
        }
    }

    pub(super) fn refused(message: String) -> Self {
        Self::new(TemplateErrorKind::Refused, message)
    }

    pub(super) fn limit(message: String) -> Self {
        Self::new(TemplateErrorKind::Limit, message)
    }

    pub(super) fn value(message: impl Into<String>) -> Self {
        Self::new(TemplateErrorKind::Value, message.into())
    }

    pub(super) fn syntax(error: &minijinja::Error) -> Self {
        let detail = error.detail().unwrap_or("not a template");
        Self {
            kind: TemplateErrorKind::Syntax,
            line: error.line().and_then(|line| u16::try_from(line).ok()),
            message: format!("{detail}; to show braces as text write `{{% raw %}}…{{% endraw %}}`"),
        }
    }

    /// Sets the line unless an inner expression has set one.
    pub(super) fn on_line(mut self, line: u16) -> Self {
        self.line.get_or_insert(line);
        self
    }

    pub(super) fn at(self, path: &str) -> TemplateError {
        let line = self.line.map_or(1, |line| usize::from(line.max(1)));
        TemplateError {
            kind: self.kind,
            path: path.to_owned(),
            line,
            message: self.message,
        }
    }
}

/// The remaining budget of one rendering.
pub(super) struct Budget {
    steps: Cell<u32>,
    work_bytes: Cell<usize>,
    output_bytes: Cell<usize>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            steps: Cell::new(MAX_STEPS),
            work_bytes: Cell::new(MAX_WORK_BYTES),
            output_bytes: Cell::new(MAX_OUTPUT_BYTES),
        }
    }

    /// The budget spent, in steps; 64 bytes count as one.
    pub(super) fn spent_steps(&self) -> u64 {
        let steps = MAX_STEPS - self.steps.get();
        let work_bytes = MAX_WORK_BYTES - self.work_bytes.get();
        u64::from(steps) + work_bytes as u64 / 64
    }

    /// Spends one step, for a statement or an expression.
    pub(super) fn step(&self) -> Result<(), Fault> {
        let left = self.steps.get().checked_sub(1);
        self.steps.set(left.ok_or_else(|| {
            Fault::limit(format!(
                "rendering takes more than {MAX_STEPS} steps; loop over less"
            ))
        })?);
        Ok(())
    }

    /// Spends bytes that are about to be created or read.
    pub(super) fn pay(&self, bytes: usize) -> Result<(), Fault> {
        let left = self.work_bytes.get().checked_sub(bytes);
        self.work_bytes.set(left.ok_or_else(|| {
            Fault::limit(format!("rendering works through more than {MAX_WORK_BYTES} bytes; use smaller variables or fewer filters"))
        })?);
        Ok(())
    }

    /// Spends bytes of the rendered prompt.
    pub(super) fn pay_output(&self, bytes: usize) -> Result<(), Fault> {
        let left = self.output_bytes.get().checked_sub(bytes);
        self.output_bytes.set(left.ok_or_else(|| {
            Fault::limit(format!(
                "the rendered prompt is larger than {MAX_OUTPUT_BYTES} bytes; use smaller variables"
            ))
        })?);
        self.pay(bytes)
    }
}
