//! Encoder of rows in the binary format of `COPY … FROM STDIN`, which costs Postgres half as much as an insert.
//!
//! The compiler does not check such a statement, so it is only used for bulk data. The format:
//! <https://www.postgresql.org/docs/current/sql-copy.html>.

use sqlx::{Encode, PgConnection, Postgres, encode::IsNull, postgres::PgArgumentBuffer};

use crate::Result;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// No flags and no extension of the header.
const FLAGS_AND_EXTENSION: [u8; 8] = [0; 8];
const END: i16 = -1;
const NULL: i32 = -1;

/// Encoded rows of one table.
pub(crate) struct CopyRows {
    buffer: PgArgumentBuffer,
    columns: i16,
}

impl CopyRows {
    /// Starts without rows; each row has this many columns.
    pub(crate) fn new(columns: i16) -> Self {
        let mut buffer = PgArgumentBuffer::default();
        buffer.extend_from_slice(SIGNATURE);
        buffer.extend_from_slice(&FLAGS_AND_EXTENSION);
        Self { buffer, columns }
    }

    /// Begins a row; then put each of its columns in order.
    pub(crate) fn begin(&mut self) {
        self.buffer.extend_from_slice(&self.columns.to_be_bytes());
    }

    /// Appends the next value of a row. Its type must be exactly that of the column, because Postgres converts nothing
    /// here.
    ///
    /// # Errors
    /// The value cannot be encoded for Postgres.
    pub(crate) fn put<'q>(&mut self, value: impl Encode<'q, Postgres>) -> Result<()> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&NULL.to_be_bytes());
        let is_null = value
            .encode(&mut self.buffer)
            .map_err(sqlx::Error::Encode)?;
        if matches!(is_null, IsNull::No) {
            let value_start = start + NULL.to_be_bytes().len();
            let length = i32::try_from(self.buffer.len() - value_start)
                .map_err(|error| sqlx::Error::Encode(error.into()))?;
            self.buffer[start..value_start].copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Sends the rows to the table named in `statement`.
    ///
    /// # Errors
    /// The database does not respond, or refuses a row; then no row is stored.
    pub(crate) async fn send(mut self, conn: &mut PgConnection, statement: &str) -> Result<()> {
        self.buffer.extend_from_slice(&END.to_be_bytes());
        let mut copy = conn.copy_in_raw(statement).await?;
        copy.send(self.buffer.as_slice()).await?;
        copy.finish().await?;
        Ok(())
    }
}
