-- Kinds of providers: a value of an enum cannot be used in the transaction that adds it, so they have a migration of their own.
alter type provider_kind add value 'openai_responses';
alter type provider_kind add value 'anthropic';
alter type provider_kind add value 'gemini';
alter type provider_kind add value 'azure_openai';
alter type provider_kind add value 'bedrock';
alter type provider_kind add value 'http';
alter type provider_kind add value 'echo';
