package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
)

// Kind is the kind of a frame.
type Kind uint8

// Kinds that a collector sends.
const (
	KindHello   Kind = 1 // Hello
	KindReady   Kind = 2 // Ready
	KindPong    Kind = 3 // Pong
	KindPackets Kind = 4 // see PacketsHeader
	KindGone    Kind = 5 // Gone
	KindFailure Kind = 6 // Failure
	KindEnd     Kind = 7 // End
	KindBurst   Kind = 8 // zeros, to be recognised among the node's sockets; ignored

	KindStatus  Kind = 9  // Status
	KindData    Kind = 10 // bytes of an archive
	KindFetched Kind = 11 // Fetched
	KindFiles   Kind = 12 // Files
	KindDeleted Kind = 13 // Deleted

	KindSample   Kind = 14 // Sample
	KindEvents   Kind = 15 // Events
	KindAttached Kind = 16 // Attached
)

// Kinds that the command sends.
const (
	KindSpec Kind = 64 // Spec
	KindGo   Kind = 65 // no payload
	KindPing Kind = 66 // Ping
	KindStop Kind = 67 // no payload: finish, send End

	// To a storing collector.
	KindHead    Kind = 68 // bytes of the packet files' head: header and interfaces, names
	KindExtra   Kind = 69 // see PutExtra: a file of the command's for the archive
	KindSeal    Kind = 70 // no payload: no more extra files come
	KindDetach  Kind = 71 // no payload: go on without this stream; answered with End
	KindOpen    Kind = 72 // no payload, instead of a spec: a look at what the pod does
	KindFetch   Kind = 73 // Fetch
	KindRelease Kind = 74 // no payload: nobody needs the archive any more; answered with End
	KindList    Kind = 75 // ListFiles
	KindDelete  Kind = 76 // DeleteFile
	KindRecord  Kind = 77 // JSON: the command's part of capture.json, at the latest before KindSeal

	KindTargets   Kind = 78 // Targets, to a collector of metrics that is ready
	KindAddresses Kind = 79 // Addresses, to a collector of packets that is ready
)

// AppendExtra appends the payload of a KindExtra frame: more bytes of the file
// with this name, relative and with slashes, below the archive's directory.
func AppendExtra(dst []byte, name string, data []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(name)))
	dst = append(dst, name...)
	return append(dst, data...)
}

// ParseExtra splits the payload of a KindExtra frame. data aliases payload. A
// name that is not a clean relative path is an error.
func ParseExtra(payload []byte) (name string, data []byte, err error) {
	if len(payload) < 2 {
		return "", nil, fmt.Errorf("frame of %d bytes names no file", len(payload))
	}
	n := int(binary.LittleEndian.Uint16(payload))
	if n > len(payload)-2 {
		return "", nil, fmt.Errorf("frame of %d bytes has a name of %d", len(payload), n)
	}
	name, data = string(payload[2:2+n]), payload[2+n:]
	if !fs.ValidPath(name) || name == "." {
		return "", nil, fmt.Errorf("%q is not the path of a file", name)
	}
	return name, data, nil
}

// MaxPayload bounds a frame's payload. It holds the largest packet block
// (MaxSnapLen bytes and its header) several times over.
const MaxPayload = 4 << 20

// HeaderLen is the length of a frame's header: kind, three zero bytes, and the
// payload's length, little-endian.
const HeaderLen = 8

// PacketsHeaderLen is the length of the header of a KindPackets payload.
const PacketsHeaderLen = 24

// PacketsHeader begins the payload of a KindPackets frame. After it come zero or
// more pcapng Enhanced Packet Blocks, little-endian, whose interface ID is
// Interface.ID and whose timestamps are ns since 1970 by the node's clock.
type PacketsHeader struct {
	// CompleteNS promises that every later frame's packets are younger than this,
	// except for a step of the node's clock. It lets the command merge streams
	// without waiting for a packet from a quiet one.
	CompleteNS int64
	Seen       uint64 // packets on all interfaces so far
	Lost       uint64 // packets lost on all interfaces so far
}

// Put writes h into the first PacketsHeaderLen bytes of b.
func (h PacketsHeader) Put(b []byte) {
	binary.LittleEndian.PutUint64(b[0:], uint64(h.CompleteNS))
	binary.LittleEndian.PutUint64(b[8:], h.Seen)
	binary.LittleEndian.PutUint64(b[16:], h.Lost)
}

// ParsePackets splits the payload of a KindPackets frame into its header and
// its blocks. The blocks alias payload.
func ParsePackets(payload []byte) (PacketsHeader, []byte, error) {
	if len(payload) < PacketsHeaderLen {
		return PacketsHeader{}, nil, fmt.Errorf("packets frame of %d bytes has no header", len(payload))
	}
	return PacketsHeader{
		CompleteNS: int64(binary.LittleEndian.Uint64(payload[0:])),
		Seen:       binary.LittleEndian.Uint64(payload[8:]),
		Lost:       binary.LittleEndian.Uint64(payload[16:]),
	}, payload[PacketsHeaderLen:], nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Writer writes frames. It is not safe for concurrent use. Nothing is
// buffered: a frame is two writes at most.
type Writer struct {
	w      io.Writer
	frames uint64
	bytes  uint64
	crc    uint32
}

// NewWriter returns a Writer on w, which the caller keeps and closes.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// WriteFrame writes one frame. payload may be reused afterwards.
func (w *Writer) WriteFrame(kind Kind, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("frame of %d bytes is over the limit of %d", len(payload), MaxPayload)
	}
	var header [HeaderLen]byte
	header[0] = byte(kind)
	binary.LittleEndian.PutUint32(header[4:], uint32(len(payload)))
	if err := w.write(header[:]); err != nil {
		return err
	}
	if err := w.write(payload); err != nil {
		return err
	}
	w.frames++
	return nil
}

// WriteJSON writes one frame with message as its JSON payload.
func (w *Writer) WriteJSON(kind Kind, message any) error {
	payload, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return w.WriteFrame(kind, payload)
}

// WriteEnd writes the End frame, with the counts and the checksum of everything
// that w has written filled in.
func (w *Writer) WriteEnd(end End) error {
	end.Frames, end.Bytes, end.CRC32C = w.frames, w.bytes, w.crc
	return w.WriteJSON(KindEnd, end)
}

func (w *Writer) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := w.w.Write(b)
	w.bytes += uint64(n)
	w.crc = crc32.Update(w.crc, castagnoli, b[:n])
	return err
}

// ErrCut is returned when a stream ends without its End frame, or with one that
// disagrees with what arrived.
var ErrCut = errors.New("stream was cut")

// A Reader reads frames. It is not safe for concurrent use.
type Reader struct {
	r      io.Reader
	frames uint64
	bytes  uint64
	crc    uint32
	ended  bool
}

// NewReader returns a Reader on r, which the caller keeps and closes. Reads are
// of a header, then of a payload: give it a buffered r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// ReadFrame returns the next frame. The payload is read into buf when it fits
// and into a new slice when it does not; it is valid until the caller reuses buf.
//
// After the End frame ReadFrame returns io.EOF. A stream that stops before it,
// or whose End frame does not agree with what arrived, returns an error that
// is ErrCut.
func (r *Reader) ReadFrame(buf []byte) (Kind, []byte, error) {
	if r.ended {
		return 0, nil, io.EOF
	}
	var header [HeaderLen]byte
	if _, err := io.ReadFull(r.r, header[:]); err != nil {
		return 0, nil, cut(err)
	}
	kind, length := Kind(header[0]), binary.LittleEndian.Uint32(header[4:])
	if length > MaxPayload || header[1]|header[2]|header[3] != 0 {
		return 0, nil, fmt.Errorf("frame %x is not one of ours: %w", header, ErrCut)
	}
	payload := buf[:cap(buf)]
	if int(length) > len(payload) {
		payload = make([]byte, length)
	}
	payload = payload[:length]
	if _, err := io.ReadFull(r.r, payload); err != nil {
		return 0, nil, cut(err)
	}
	if kind == KindEnd {
		return kind, payload, r.checkEnd(payload)
	}
	r.frames++
	r.bytes += HeaderLen + uint64(length)
	r.crc = crc32.Update(crc32.Update(r.crc, castagnoli, header[:]), castagnoli, payload)
	return kind, payload, nil
}

func (r *Reader) checkEnd(payload []byte) error {
	var end End
	if err := json.Unmarshal(payload, &end); err != nil {
		return fmt.Errorf("end frame: %w: %w", err, ErrCut)
	}
	if end.Frames != r.frames || end.Bytes != r.bytes || end.CRC32C != r.crc {
		return fmt.Errorf("end frame counts %d frames, %d bytes, checksum %08x, but %d, %d, %08x arrived: %w",
			end.Frames, end.Bytes, end.CRC32C, r.frames, r.bytes, r.crc, ErrCut)
	}
	r.ended = true
	return nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("no end frame: %w", ErrCut)
	}
	return fmt.Errorf("%w: %w", err, ErrCut)
}
