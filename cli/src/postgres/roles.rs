//! The two roles of the embedded server: who looks after it, and as whom the bank works.
//!
//! `opb_admin` is the superuser; opb uses it for a moment at each start. `opb` owns the database and nothing else: it
//! reads no file and starts no program of the server's machine, so neither does whoever finds a hole in a statement.
//! Folders that an older opb has made know one role, `opb`, a superuser; they are converted when they are started.

use sqlx::{Connection as _, PgConnection, raw_sql};
use tracing::info;

use super::{Error, folder::Login};

/// Makes `opb` where it is missing. A password cannot be bound in a statement of this kind, so it travels as a setting.
const CREATE_ROLE: &str = "
    -- roles::ensure
    do $$
    begin
        if not exists (select from pg_roles where rolname = 'opb') then
            execute format('create role opb login password %L', current_setting('opb.password'));
        end if;
        drop role if exists opb_convert;
    end
    $$";

/// A role that can rename the one that the server began with: nobody can rename himself.
const CREATE_CONVERTER: &str = "
    -- roles::convert (a role to do it)
    do $$
    begin
        if not exists (select from pg_roles where rolname = 'opb_convert') then
            create role opb_convert;
        end if;
        execute format('alter role opb_convert superuser login password %L', current_setting('opb.admin_password'));
    end
    $$";

/// The superuser gets another name, and its old one belongs to a role that may little. All of it happens or nothing.
const SPLIT_ROLES: &str = "
    -- roles::convert (the roles)
    do $$
    begin
        alter role opb rename to opb_admin;
        execute format('alter role opb_admin password %L', current_setting('opb.admin_password'));
        execute format('create role opb login password %L', current_setting('opb.password'));
        if exists (select from pg_database where datname = 'opb') then
            alter database opb owner to opb;
        end if;
    end
    $$";

/// Everything in the database that the superuser owns and no extension has made becomes the bank's.
const GIVE_ALL: &str = "
    -- roles::give_all
    do $$
    declare
        statement text;
    begin
        for statement in
            with mine as (
                select oid from pg_roles where rolname = current_user
            ), of_extensions as (
                select classid, objid from pg_depend where deptype = 'e'
            )
            select format('alter schema %I owner to opb', nspname)
            from pg_namespace
            where nspowner = (select oid from mine) and nspname !~ '^pg_' and nspname <> 'information_schema'
                and ('pg_namespace'::regclass, oid) not in (select classid, objid from of_extensions)
            union all
            -- A sequence of a column follows its table. A partition depends on its table, too, and follows nobody.
            select format('alter table %s owner to opb', pg_class.oid::regclass)
            from pg_class
            join pg_namespace on pg_namespace.oid = relnamespace
            where relowner = (select oid from mine) and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
                and nspname !~ '^pg_' and nspname <> 'information_schema'
                and ('pg_class'::regclass, pg_class.oid) not in (select classid, objid from of_extensions)
                and not (relkind = 'S' and exists (select from pg_depend
                                where classid = 'pg_class'::regclass and objid = pg_class.oid
                                    and refclassid = 'pg_class'::regclass and deptype in ('a', 'i')))
            union all
            select format('alter routine %s owner to opb', pg_proc.oid::regprocedure)
            from pg_proc
            join pg_namespace on pg_namespace.oid = pronamespace
            where proowner = (select oid from mine) and nspname !~ '^pg_' and nspname <> 'information_schema'
                and ('pg_proc'::regclass, pg_proc.oid) not in (select classid, objid from of_extensions)
            union all
            select format('alter %s %s owner to opb', case typtype when 'd' then 'domain' else 'type' end,
                          pg_type.oid::regtype)
            from pg_type
            join pg_namespace on pg_namespace.oid = typnamespace
            left join pg_class on pg_class.oid = typrelid
            where typowner = (select oid from mine) and nspname !~ '^pg_' and nspname <> 'information_schema'
                and (typtype in ('d', 'e', 'r') or relkind = 'c')
                and ('pg_type'::regclass, pg_type.oid) not in (select classid, objid from of_extensions)
        loop
            execute statement;
        end loop;
    end
    $$";

/// Makes the role `opb` where it is missing, and tidies up after a conversion.
pub async fn ensure(admin: &mut PgConnection, bank: &Login) -> Result<(), Error> {
    remember(admin, "opb.password", bank).await?;
    run(admin, CREATE_ROLE, "make the role opb").await
}

/// Gives the bank what is in its database, which `admin` is connected to.
pub async fn give_all(admin: &mut PgConnection) -> Result<(), Error> {
    run(admin, GIVE_ALL, "give the database to the role opb").await
}

/// True if the role of this connection is a superuser.
pub async fn is_superuser(conn: &mut PgConnection) -> Result<bool, Error> {
    let statement = "
        -- roles::is_superuser
        select rolsuper from pg_roles where rolname = current_user";
    sqlx::query_scalar(statement)
        .fetch_one(conn)
        .await
        .map_err(database("ask for the role"))
}

/// Makes the two roles of the one that an older opb knew. `old` is connected as that one; `connect` connects as another
/// role. A crash at any line leaves a server that the next start converts or finds converted.
pub async fn convert(
    mut old: PgConnection,
    bank: &Login,
    admin: &Login,
    connect: impl AsyncFnOnce(&Login) -> Result<PgConnection, sqlx::Error>,
) -> Result<(), Error> {
    remember(&mut old, "opb.admin_password", admin).await?;
    run(&mut old, CREATE_CONVERTER, "make a role for the conversion").await?;
    old.close().await.map_err(database("close a connection"))?;
    let converter = Login {
        user: "opb_convert",
        ..admin.clone()
    };
    let mut conn = connect(&converter)
        .await
        .map_err(database("connect for the conversion"))?;
    remember(&mut conn, "opb.password", bank).await?;
    remember(&mut conn, "opb.admin_password", admin).await?;
    run(&mut conn, SPLIT_ROLES, "split the role opb").await?;
    conn.close().await.map_err(database("close a connection"))?;
    info!("the Postgres server has a role without superuser rights for the bank now");
    Ok(())
}

async fn remember(conn: &mut PgConnection, name: &str, login: &Login) -> Result<(), Error> {
    sqlx::query("select set_config($1, $2, false)")
        .bind(name)
        .bind(secrecy::ExposeSecret::expose_secret(&login.password))
        .execute(conn)
        .await
        .map_err(database("pass a password on"))?;
    Ok(())
}

async fn run(
    conn: &mut PgConnection,
    statement: &'static str,
    what: &'static str,
) -> Result<(), Error> {
    raw_sql(statement)
        .execute(conn)
        .await
        .map_err(database(what))?;
    Ok(())
}

fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |source| Error::Database { what, source }
}
