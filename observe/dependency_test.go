package observe

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/tracing"
)

// The attributes are those that the libraries set today, old and new names.
func TestClientSpansOfOtherLibrariesAreDependencies(t *testing.T) {
	attr := attribute.String
	for _, test := range []struct {
		name   string
		kind   trace.SpanKind
		attrs  []attribute.KeyValue
		failed bool
		metric string
		labels string
	}{
		{"GET", trace.SpanKindClient, []attribute.KeyValue{attr("db.system", "redis"), attr("db.operation", "get")}, false,
			"db_client_operation_duration_seconds", "db_collection_name= db_namespace= db_operation_name=get db_query_summary= db_system_name=redis error_type="},
		{"set", trace.SpanKindClient, []attribute.KeyValue{attr("db.system.name", "redis")}, true,
			"db_client_operation_duration_seconds", "db_collection_name= db_namespace= db_operation_name=set db_query_summary= db_system_name=redis error_type=_OTHER"},
		{"INSERT", trace.SpanKindClient, []attribute.KeyValue{attr("db.system.name", "postgresql"), attr("db.namespace", "orders"), attr("db.operation.name", "INSERT"), attr("db.response.status_code", "23505")}, true,
			"db_client_operation_duration_seconds", "db_collection_name= db_namespace=orders db_operation_name=INSERT db_query_summary= db_system_name=postgresql error_type=23505"},
		{"shop.Prices/Get", trace.SpanKindClient, []attribute.KeyValue{attr("rpc.system", "grpc"), attr("rpc.service", "shop.Prices"), attr("rpc.method", "Get"), attr("server.address", "prices")}, false,
			"rpc_client_call_duration_seconds", "error_type= rpc_method=shop.Prices/Get rpc_system_name=grpc server_address=prices"},
		{"send orders", trace.SpanKindProducer, []attribute.KeyValue{attr("messaging.system", "rabbitmq"), attr("messaging.operation.name", "send"), attr("messaging.destination.name", "orders")}, false,
			"messaging_client_operation_duration_seconds", "error_type= messaging_destination_name=orders messaging_operation_name=send messaging_system=rabbitmq"},
		{"process orders", trace.SpanKindConsumer, []attribute.KeyValue{attr("messaging.system", "kafka"), attr("messaging.operation.name", "process"), attr("messaging.destination.name", "orders")}, false,
			"messaging_process_duration_seconds", "error_type= messaging_destination_name=orders messaging_operation_name=process messaging_system=kafka"},
		{"GET", trace.SpanKindClient, []attribute.KeyValue{attr("http.request.method", "GET"), attr("server.address", "api"), attribute.Int("server.port", 443), attribute.Int("http.response.status_code", 503)}, true,
			"http_client_request_duration_seconds", "error_type=503 http_request_method=GET http_response_status_code=503 server_address=api server_port=443 url_template="},
		{"lookup", trace.SpanKindClient, []attribute.KeyValue{attr("peer.service", "ldap")}, false,
			"observe_dependency_duration_seconds", "dependency=ldap error_type= operation=lookup"},
	} {
		t.Run(test.name+" "+test.metric, func(t *testing.T) {
			// Refused by the sampler: the measure is taken all the same.
			tel := start(t, Config{Tracing: tracing.Config{Sampler: sdktrace.NeverSample()}})
			_, s := otel.Tracer("library").Start(context.Background(), test.name, trace.WithSpanKind(test.kind))
			s.SetAttributes(test.attrs...)
			if test.failed {
				s.SetStatus(codes.Error, "")
			}
			s.End()
			found := family(t, tel, test.metric)
			if found[test.labels].GetHistogram().GetSampleCount() != 1 {
				t.Errorf("not counted as {%s}; there is %v", test.labels, found)
			}
		})
	}
}

func TestSpansThatNameNoPeerAreNoDependencies(t *testing.T) {
	tel := start(t, Config{})
	for _, kind := range []trace.SpanKind{trace.SpanKindInternal, trace.SpanKindServer, trace.SpanKindClient, trace.SpanKindConsumer} {
		_, s := otel.Tracer("library").Start(context.Background(), "x", trace.WithSpanKind(kind))
		s.End()
	}
	for _, name := range []string{"observe_dependency_duration_seconds", "messaging_process_duration_seconds"} {
		if found := family(t, tel, name); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}
