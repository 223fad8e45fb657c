package observe

import (
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Stream tells where the bytes of a copy wait: time inside Read is waiting
// for the source, time inside Write is waiting for the sink. The side that
// grows by a second a second is the slow one. A nil Stream watches nothing. Its
// methods may be called concurrently, and its readers and writers as those that
// they wrap.
type Stream struct {
	name        string
	started     time.Time
	read, write side
}

// side is one side of a stream.
type side struct {
	bytes atomic.Int64
	waits waits
}

// Stream returns the stream of a name, one of few. All readers and writers of
// it are added up. A nil Telemetry returns a nil Stream.
//
//	in := tel.Stream("import")
//	_, err := io.Copy(in.Writer(file), in.Reader(r.Body))
func (t *Telemetry) Stream(name string) *Stream {
	if t == nil {
		return nil
	}
	s, _ := t.streams.names.with(clip(name, maxName))
	return s
}

// Reader counts what is read of r. The result is also an io.Closer or an
// io.WriterTo where r is; what else r can do is not kept.
func (s *Stream) Reader(r io.Reader) io.Reader {
	if s == nil {
		return r
	}
	plain := &streamReader{stream: s, r: r}
	c, closes := r.(io.Closer)
	to, writes := r.(io.WriterTo)
	switch {
	case closes && writes:
		return struct {
			*streamReader
			io.Closer
			streamWriterTo
		}{plain, c, streamWriterTo{s, to}}
	case closes:
		return struct {
			*streamReader
			io.Closer
		}{plain, c}
	case writes:
		return struct {
			*streamReader
			streamWriterTo
		}{plain, streamWriterTo{s, to}}
	}
	return plain
}

// Writer counts what is written to w. The result is also an io.StringWriter,
// and an io.Closer or an io.ReaderFrom where w is; what else w can do is not
// kept. A copy that the kernel makes from one file or socket to another stays
// one: its bytes and its time count for the write side, when it ends.
func (s *Stream) Writer(w io.Writer) io.Writer {
	if s == nil {
		return w
	}
	plain := &streamWriter{stream: s, w: w}
	c, closes := w.(io.Closer)
	from, reads := w.(io.ReaderFrom)
	switch {
	case closes && reads:
		return struct {
			*streamWriter
			io.Closer
			streamReaderFrom
		}{plain, c, streamReaderFrom{plain, from}}
	case closes:
		return struct {
			*streamWriter
			io.Closer
		}{plain, c}
	case reads:
		return struct {
			*streamWriter
			streamReaderFrom
		}{plain, streamReaderFrom{plain, from}}
	}
	return plain
}

func (s *Stream) now() time.Duration { return time.Since(s.started) }

type streamReader struct {
	stream *Stream
	r      io.Reader
}

func (r *streamReader) Read(p []byte) (n int, err error) {
	s := r.stream
	began := s.now()
	s.read.waits.begin(began)
	defer func() {
		s.read.waits.end(began, s.now(), 0)
		s.read.bytes.Add(int64(max(n, 0)))
	}()
	return r.r.Read(p)
}

type streamWriter struct {
	stream *Stream
	w      io.Writer
}

func (w *streamWriter) Write(p []byte) (n int, err error) {
	s := w.stream
	began := s.now()
	s.write.waits.begin(began)
	defer func() {
		s.write.waits.end(began, s.now(), 0)
		s.write.bytes.Add(int64(max(n, 0)))
	}()
	return w.w.Write(p)
}

func (w *streamWriter) WriteString(p string) (n int, err error) {
	s := w.stream
	began := s.now()
	s.write.waits.begin(began)
	defer func() {
		s.write.waits.end(began, s.now(), 0)
		s.write.bytes.Add(int64(max(n, 0)))
	}()
	return io.WriteString(w.w, p)
}

// streamWriterTo is for a reader that writes itself out: what it spends in the
// other's Write is not waiting for the reader.
type streamWriterTo struct {
	stream *Stream
	to     io.WriterTo
}

func (t streamWriterTo) WriteTo(w io.Writer) (n int64, err error) {
	s := t.stream
	began := s.now()
	s.read.waits.begin(began)
	// The kernel copies only into what it knows, and tests for io.ReaderFrom.
	sink := &timedWriter{stream: s, w: w}
	defer func() {
		s.read.waits.end(began, s.now(), sink.took)
		s.read.bytes.Add(max(n, 0))
	}()
	if from, ok := w.(io.ReaderFrom); ok {
		return t.to.WriteTo(struct {
			*timedWriter
			timedReaderFrom
		}{sink, timedReaderFrom{sink, from}})
	}
	return t.to.WriteTo(sink)
}

type timedWriter struct {
	stream *Stream
	w      io.Writer
	took   time.Duration
}

func (w *timedWriter) Write(p []byte) (int, error) {
	began := w.stream.now()
	defer func() { w.took += w.stream.now() - began }()
	return w.w.Write(p)
}

type timedReaderFrom struct {
	w    *timedWriter
	from io.ReaderFrom
}

func (f timedReaderFrom) ReadFrom(r io.Reader) (int64, error) {
	began := f.w.stream.now()
	defer func() { f.w.took += f.w.stream.now() - began }()
	return f.from.ReadFrom(r)
}

// streamReaderFrom is for a writer that reads for itself.
type streamReaderFrom struct {
	w    *streamWriter
	from io.ReaderFrom
}

func (f streamReaderFrom) ReadFrom(r io.Reader) (n int64, err error) {
	s := f.w.stream
	began := s.now()
	s.write.waits.begin(began)
	source := &timedReader{stream: s, r: r}
	defer func() {
		s.write.waits.end(began, s.now(), source.took)
		s.write.bytes.Add(max(n, 0))
	}()
	if inKernel(r) {
		return f.from.ReadFrom(r)
	}
	return f.from.ReadFrom(source)
}

type timedReader struct {
	stream *Stream
	r      io.Reader
	took   time.Duration
}

func (r *timedReader) Read(p []byte) (int, error) {
	began := r.stream.now()
	defer func() { r.took += r.stream.now() - began }()
	return r.r.Read(p)
}

// inKernel reports whether the kernel may copy from r without us: from a file or a socket, or a part of one.
func inKernel(r io.Reader) bool {
	if l, ok := r.(*io.LimitedReader); ok {
		r = l.R
	}
	_, ok := r.(syscall.Conn)
	return ok
}

// streams is the collector of all streams.
type streams struct {
	started        time.Time
	names          *vec[*Stream]
	bytes, blocked *prometheus.Desc

	mu  sync.Mutex
	all map[string]*Stream
}

func newStreams(t *Telemetry) *streams {
	s := &streams{started: t.started, all: map[string]*Stream{}, bytes: desc(streamBytes), blocked: desc(streamBlocked)}
	// The sides are ours; the program decides on the names alone.
	byName := streamBytes
	byName.Labels = byName.Labels[:1]
	s.names = newVec(t.metrics, byName, s.add)
	t.metrics.register(streamBytes, s)
	return s
}

// add makes the stream of a name that has been admitted.
func (s *streams) add(names ...string) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.all[names[0]]
	if !ok {
		one = &Stream{name: names[0], started: s.started}
		s.all[one.name] = one
	}
	return one
}

// Describe implements prometheus.Collector.
func (s *streams) Describe(ch chan<- *prometheus.Desc) { ch <- s.bytes; ch <- s.blocked }

// Collect implements prometheus.Collector.
func (s *streams) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	all := make([]*Stream, 0, len(s.all))
	for _, one := range s.all {
		all = append(all, one)
	}
	s.mu.Unlock()
	for _, one := range all {
		for _, side := range []struct {
			name string
			of   *side
		}{{"read", &one.read}, {"write", &one.write}} {
			ch <- prometheus.MustNewConstMetric(s.bytes, prometheus.CounterValue, float64(side.of.bytes.Load()), one.name, side.name)
			ch <- prometheus.MustNewConstMetric(s.blocked, prometheus.CounterValue, side.of.waits.seconds(one.now()), one.name, side.name)
		}
	}
}
