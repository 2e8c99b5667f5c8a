//! The two roles of the embedded server: the administrator's and the bank's.
//!
//! `opb_admin` is the superuser; opb uses it briefly at each start. `opb` owns the database and nothing else: it can
//! read no files and start no programs on the server's machine, and so an SQL injection cannot either.
//! Folders of an older opb have one role, `opb`, a superuser; they are converted at the next start.

use sqlx::{Connection as _, PgConnection, raw_sql};
use tracing::info;

use super::{Error, folder::Login};

/// Creates `opb` if it is missing. Such statements take no parameters, so the password is passed as a setting.
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

/// A temporary role to rename the initial one: a role cannot rename itself.
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

/// Renames the superuser, and gives its old name to a role with few rights. Atomic.
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

/// Gives the bank everything in the database that the superuser owns and no extension has created.
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

/// Creates the role `opb` if it is missing, and cleans up after a conversion.
pub async fn ensure(admin: &mut PgConnection, bank: &Login) -> Result<(), Error> {
    remember(admin, "opb.password", bank).await?;
    run(admin, CREATE_ROLE, "create the role opb").await
}

/// Gives the bank the contents of its database, to which `admin` is connected.
pub async fn give_all(admin: &mut PgConnection) -> Result<(), Error> {
    run(admin, GIVE_ALL, "give the database to the role opb").await
}

/// Whether the role of this connection is a superuser.
pub async fn is_superuser(conn: &mut PgConnection) -> Result<bool, Error> {
    let statement = "
        -- roles::is_superuser
        select rolsuper from pg_roles where rolname = current_user";
    sqlx::query_scalar(statement)
        .fetch_one(conn)
        .await
        .map_err(database("ask for the role"))
}

/// Splits the single role of an older opb in two. `old` is connected as that role; `connect` connects as another. After
/// a crash at any point the next start continues.
pub async fn convert(
    mut old: PgConnection,
    bank: &Login,
    admin: &Login,
    connect: impl AsyncFnOnce(&Login) -> Result<PgConnection, sqlx::Error>,
) -> Result<(), Error> {
    remember(&mut old, "opb.admin_password", admin).await?;
    run(
        &mut old,
        CREATE_CONVERTER,
        "create a role for the conversion",
    )
    .await?;
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
    info!("the bank now uses a Postgres role without superuser rights");
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
