"""The apps of Django's test suite that use a database."""

PEER_APPS = """
    aggregation aggregation_regress annotations backends basic bulk_create constraints custom_columns
    custom_lookups custom_managers custom_methods custom_migration_operations custom_pk datatypes dates
    datetimes db_functions db_typecasts db_utils dbshell defer defer_regress delete delete_regress
    distinct_on_fields empty expressions expressions_case expressions_window extra_regress
    field_deconstruction field_defaults field_subclassing filtered_relation fixtures
    fixtures_model_package fixtures_regress force_insert_update foreign_object from_db_value
    generic_relations generic_relations_regress get_earliest_or_latest get_object_or_404 get_or_create
    indexes inspectdb introspection invalid_models_tests known_related_objects lookup m2m_and_m2o
    m2m_intermediary m2m_multiple m2m_recursive m2m_regress m2m_signals m2m_through m2o_recursive
    managers_regress many_to_many many_to_one max_lengths migrate_signals
    migration_test_data_persistence migrations migrations2 model_fields model_indexes model_options
    mutually_referential nested_foreign_keys null_fk null_fk_ordering null_queries one_to_one or_lookups
    order_with_respect_to ordering pagination prefetch_related queries queryset_pickle raw_query
    reverse_lookup save_delete_hooks schema select_for_update select_related select_related_onetoone
    select_related_regress serializers timezones transaction_hooks transactions update
    update_only_fields
""".split()
"""What mssql-django's own test.sh runs."""

FURTHER_APPS = """
    admin_changelist admin_custom_urls admin_docs admin_filters admin_inlines admin_ordering admin_utils
    admin_views admin_widgets async auth_tests cache composite_pk contenttypes_tests empty_models
    file_uploads flatpages_tests forms_tests generic_inline_admin generic_views handlers inline_formsets
    logging_tests m2m_through_regress many_to_one_null messages_tests model_forms model_formsets
    model_formsets_regress model_inheritance model_inheritance_regress model_package model_regress
    modeladmin multiple_database properties proxy_model_inheritance proxy_models redirects_tests
    reserved_names servers sessions_tests signals sitemaps_tests sites_framework sites_tests str
    string_lookup swappable_models syndication_tests test_client test_client_regress test_runner
    test_utils unmanaged_models validation view_tests xor_lookups
""".split()

ALL_APPS = [*PEER_APPS, *FURTHER_APPS]
