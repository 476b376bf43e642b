//! Reading, instrumenting and writing of function bodies.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasmparser::{FuncToValidate, FunctionBody, Operator, ValidatorResources};

use super::build::Builder;
use super::instrument::{Globals, Instrument};
use super::limits::{check_operators, count};
use super::{ModuleError, limits};

impl<'a> Builder<'_, 'a> {
    /// Validates, instruments and writes one function body.
    pub(super) fn body(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'a>,
    ) -> Result<(), ModuleError> {
        let mut locals = 0_u64;
        for group in body.get_locals_reader()? {
            locals = locals.saturating_add(u64::from(group?.0));
            limits::check("wasm locals", locals, limits::LOCALS)?;
        }
        let operators = self.operators(function, body)?;

        // a memory that cannot grow makes `memory.grow` fail, so nothing is paid for it
        let fixed = self.memory.is_some_and(|(initial, maximum)| maximum == Some(initial));
        let instrument = Instrument {
            types: &self.types,
            globals: Globals::after(self.globals),
            grow_hook: if fixed { None } else { self.grow_hook },
            function: self.bodies,
            locals: u32::try_from(locals).unwrap_or(u32::MAX),
        };
        let operators = instrument.run(operators)?;
        self.info.operators += count(operators.len());
        self.bodies += 1;

        let mut out = RoundtripReencoder.new_function_with_parsed_locals(body)?;
        for operator in operators {
            out.instruction(&RoundtripReencoder.instruction(operator)?);
        }
        self.out.code.function(&out);
        Ok(())
    }

    /// Reads and validates the operators of a body; stops as soon as there are too many.
    fn operators(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'a>,
    ) -> Result<Vec<Operator<'a>>, ModuleError> {
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        let mut locals = body.get_binary_reader();
        validator.read_locals(&mut locals)?;
        let mut reader = body.get_operators_reader()?;
        let mut operators = Vec::new();
        while !reader.eof() {
            let (operator, offset) = reader.read_with_offset()?;
            self.moved_values = self.moved_values.saturating_add(self.types.moved(&operator));
            limits::check(
                "values passed by calls, blocks and branches",
                self.moved_values,
                limits::MOVED_VALUES,
            )?;
            validator.op(offset, &operator)?;
            operators.push(operator);
            check_operators(operators.len())?;
        }
        reader.finish()?;
        self.allocations = validator.into_allocations();
        Ok(operators)
    }
}
