//! The description of the API (OpenAPI 3.1), made from the table of routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use api::v1;
use axum::{http::header, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ComponentsBuilder, Content, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr,
        Required, ResponseBuilder, SecurityRequirement,
        path::{OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{ArrayBuilder, ObjectBuilder, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::routes::{Access, Brings, Gives, ROUTES, Route};

/// It was done; there is nothing to say about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {}

/// What a rotation moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moved {
    /// Data keys that lie under the new key-encryption key.
    pub moved: u64,
}

/// `POST /v1/backup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// A file name inside the server's data directory; one is made from the time where there is none.
    #[serde(default)]
    pub path: Option<String>,
}

/// Where the copy lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackedUp {
    /// The file, on the server.
    pub file: String,
}

/// The schemas of the description, by name.
#[derive(Default)]
pub(crate) struct Schemas {
    all: BTreeMap<String, Described>,
    /// Names that two different types have: the description would lie about one of them.
    clashes: BTreeSet<String>,
}

type Described = RefOr<utoipa::openapi::Schema>;
/// Adds a schema and what it refers to, and says how to refer to it.
pub(crate) type Schema = fn(&mut Schemas) -> Described;

impl Schemas {
    fn add(&mut self, name: String, schema: Described) -> Described {
        let reference = RefOr::Ref(Ref::from_schema_name(&name));
        if self.all.get(&name).is_some_and(|known| *known != schema) {
            self.clashes.insert(name.clone());
        }
        self.all.insert(name, schema);
        reference
    }
}

/// The schema of a type.
pub(crate) fn schema<T: ToSchema>(known: &mut Schemas) -> Described {
    let mut referred = Vec::new();
    T::schemas(&mut referred);
    for (name, schema) in referred {
        known.add(name, schema);
    }
    known.add(T::name().into_owned(), T::schema())
}

/// A page of a type; each has its own name.
pub(crate) fn page<T: ToSchema>(known: &mut Schemas) -> Described
where
    v1::Page<T>: ToSchema,
{
    schema::<T>(known);
    known.add(format!("PageOf{}", T::name()), <v1::Page<T> as PartialSchema>::schema())
}

/// A list of a type, which has no name of its own.
pub(crate) fn list<T: ToSchema>(known: &mut Schemas) -> Described {
    ArrayBuilder::new().items(schema::<T>(known)).into()
}

/// An inventory, which has secrets, targets and vantages of its own: what people declare, not what is stored. Its types are named
/// apart from those of the answers.
pub(crate) fn apply(known: &mut Schemas) -> Described {
    let mut declared = Vec::new();
    <api::fleet::Fleet as ToSchema>::schemas(&mut declared);
    declared.push((api::fleet::Fleet::name().into_owned(), api::fleet::Fleet::schema()));
    let names: BTreeSet<String> = declared.iter().map(|(name, _)| name.clone()).collect();
    for (name, schema) in declared {
        known.add(apart(&name), renamed(schema, &names));
    }
    known.add(v1::Apply::name().into_owned(), renamed(v1::Apply::schema(), &names))
}

fn apart(name: &str) -> String {
    if name == "Fleet" { name.to_owned() } else { format!("Fleet{name}") }
}

/// The same schema, with other names where it refers.
fn renamed(schema: Described, names: &BTreeSet<String>) -> Described {
    let rename = |mut value: serde_json::Value| {
        rename(&mut value, names);
        serde_json::from_value(value)
    };
    serde_json::to_value(&schema).and_then(rename).unwrap_or(schema)
}

fn rename(value: &mut serde_json::Value, names: &BTreeSet<String>) {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), field.as_str().and_then(|r| r.strip_prefix(SCHEMAS))) {
                    ("$ref", Some(name)) if names.contains(name) => *field = Value::String(format!("{SCHEMAS}{}", apart(name))),
                    _ => rename(field, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|i| rename(i, names)),
        _ => {}
    }
}

/// Where references lead.
const SCHEMAS: &str = "#/components/schemas/";

/// The whole description.
pub fn document() -> OpenApi {
    described().0
}

fn described() -> (OpenApi, BTreeSet<String>) {
    let mut schemas = Schemas::default();
    let problem = schema::<v1::Problem>(&mut schemas);
    let mut paths = PathsBuilder::new();
    for route in ROUTES {
        let operation = operation(route, &mut schemas, &problem);
        let method = match route.method {
            "GET" => HttpMethod::Get,
            "DELETE" => HttpMethod::Delete,
            _ => HttpMethod::Post,
        };
        paths = paths.path(route.path, PathItem::new(method, operation));
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token: prn_ and 43 characters")).build();
    let clashes = std::mem::take(&mut schemas.clashes);
    let document = OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Perennial").version("1").description(Some(ABOUT)).build())
        .paths(paths.build())
        .components(Some(components(schemas, bearer)))
        .build();
    (document, clashes)
}

const ABOUT: &str = "A store for certificates and other secrets whose renewal is done only when production was observed serving it. \
    Fields are only ever added. Refusals are RFC 9457 problems with a stable `code`. No answer holds private material.";

fn components(schemas: Schemas, bearer: utoipa::openapi::security::Http) -> Components {
    let all = schemas.all.into_iter().fold(ComponentsBuilder::new(), |c, (name, schema)| c.schema(name, schema));
    all.security_scheme("token", SecurityScheme::Http(bearer)).build()
}

fn operation(route: &Route, schemas: &mut Schemas, problem: &Described) -> OperationBuilder {
    let mut operation = OperationBuilder::new().summary(Some(route.summary)).operation_id(Some(operation_id(route)));
    for name in route.path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')) {
        let kind = if name == "id" { Type::Integer } else { Type::String };
        operation = operation.parameter(parameter(name, ParameterIn::Path, kind));
    }
    for name in route.query {
        let kind = match *name {
            "limit" => Type::Integer,
            "all" => Type::Boolean,
            _ => Type::String,
        };
        operation = operation.parameter(parameter(name, ParameterIn::Query, kind));
    }
    if let Some(takes) = route.takes {
        let media = if route.body == Brings::Lines { "application/x-ndjson" } else { "application/json" };
        let content = Content::new(Some(takes(schemas)));
        operation = operation.request_body(Some(RequestBodyBuilder::new().content(media, content).required(Some(Required::True)).build()));
    }
    let good = ResponseBuilder::new().description(match route.gives {
        Gives::Crl => "A list",
        Gives::Text => "Text",
        Gives::Description => "This document",
        Gives::Json(_) => "Done",
    });
    let good = match route.gives {
        Gives::Json(gives) => good.content("application/json", Content::new(Some(gives(schemas)))),
        Gives::Crl => good.content("application/pkix-crl", Content::new::<Described>(None)),
        Gives::Text => good.content("text/plain", Content::new::<Described>(None)),
        Gives::Description => good.content("application/json", Content::new::<Described>(None)),
    };
    let bad = ResponseBuilder::new().description("A problem").content("application/problem+json", Content::new(Some(problem.clone())));
    operation = operation.response("200", good.build()).response("default", bad.build());
    match route.access {
        Access::Public => operation,
        Access::Metrics | Access::Needs(_) => operation.security(SecurityRequirement::new("token", Vec::<String>::new())),
    }
}

fn parameter(name: &str, place: ParameterIn, kind: Type) -> ParameterBuilder {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    ParameterBuilder::new().name(name).parameter_in(place).required(required).schema(Some(ObjectBuilder::new().schema_type(kind)))
}

/// `POST /v1/secrets/{name}/versions` → `post-secrets-name-versions`: stable as long as the path is.
fn operation_id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/v1").replace(['{', '}'], "").replace(['/', '.'], "-");
    format!("{}{path}", route.method.to_ascii_lowercase())
}

/// `GET /v1/openapi.json`. Everybody may ask for it, so it is made once.
pub(crate) async fn serve() -> impl IntoResponse {
    static TEXT: LazyLock<String> = LazyLock::new(|| serde_json::to_string(&document()).unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_types_have_one_name() {
        assert_eq!(described().1, BTreeSet::new());
    }
}
