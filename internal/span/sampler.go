package span

import (
	"encoding/binary"
	"reflect"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// sampler asks a sampler of the SDK without building its question, when it is one whose answer is known to depend on
// the trace ID and the parent's flag alone.
type sampler struct {
	any sdktrace.Sampler
	// plain is the rule for a root, and for any span when byParent is false.
	plain rule
	// byParent: the four rules of ParentBased.
	byParent                             bool
	remoteOn, remoteOff, nearOn, nearOff rule
}

// rule is a decision, or a bound that trace IDs must be below.
type rule struct {
	known  bool
	always bool
	never  bool
	bound  uint64
}

func (r *rule) decide(id *trace.TraceID) sdktrace.SamplingDecision {
	if r.samples(id) {
		return sdktrace.RecordAndSample
	}
	return sdktrace.Drop
}

func (r *rule) samples(id *trace.TraceID) bool {
	return r.always || !r.never && binary.BigEndian.Uint64(id[8:])>>1 < r.bound
}

// newSampler recognises the SDK's plain samplers. Their types are not exported; what is not recognised, in this version
// of the SDK or a later one, is asked the long way, so a change there costs time and never a wrong decision.
func newSampler(s sdktrace.Sampler) sampler {
	f := sampler{any: s, plain: ruleOf(reflect.ValueOf(s))}
	if f.plain.known {
		return f
	}
	v := reflect.ValueOf(s)
	if v.Type() != reflect.TypeOf(sdktrace.ParentBased(s)) || v.Kind() != reflect.Struct {
		return f
	}
	config := v.FieldByName("config")
	if config.Kind() != reflect.Struct || v.NumField() != 2 || config.NumField() != 4 {
		return f
	}
	rules := []*rule{&f.plain, &f.remoteOn, &f.remoteOff, &f.nearOn, &f.nearOff}
	values := []reflect.Value{
		v.FieldByName("root"), config.FieldByName("remoteParentSampled"), config.FieldByName("remoteParentNotSampled"),
		config.FieldByName("localParentSampled"), config.FieldByName("localParentNotSampled"),
	}
	f.byParent = true
	for i, r := range rules {
		if *r = ruleOf(values[i]); !r.known {
			return sampler{any: s}
		}
	}
	return f
}

func ruleOf(v reflect.Value) rule {
	for v.IsValid() && v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() {
		return rule{}
	}
	switch v.Type() {
	case reflect.TypeOf(sdktrace.AlwaysSample()):
		return rule{known: true, always: true}
	case reflect.TypeOf(sdktrace.NeverSample()):
		return rule{known: true, never: true}
	case reflect.TypeOf(sdktrace.TraceIDRatioBased(0.5)):
		if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
			if b := v.Elem().FieldByName("traceIDUpperBound"); b.IsValid() && b.Kind() == reflect.Uint64 {
				return rule{known: true, bound: b.Uint()}
			}
		}
	}
	return rule{}
}

// decide answers for s, the child of ours or of far; fast is false when the sampler itself must be asked.
func (f *sampler) decide(s, ours *Span, far trace.SpanContext) (d sdktrace.SamplingDecision, fast bool) {
	if !f.plain.known {
		return 0, false
	}
	r := &f.plain
	if f.byParent {
		switch {
		case ours != nil && ours.flags.IsSampled():
			r = &f.nearOn
		case ours != nil:
			r = &f.nearOff
		case !far.IsValid():
		case far.IsRemote() && far.IsSampled():
			r = &f.remoteOn
		case far.IsRemote():
			r = &f.remoteOff
		case far.IsSampled():
			r = &f.nearOn
		default:
			r = &f.nearOff
		}
	}
	return r.decide(&s.traceID), true
}
