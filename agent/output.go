package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/jsonkeys"
)

const (
	// filesPrefix begins the names of the directories with actions' files, in the system's directory for temporary files.
	filesPrefix = "replicante-action-"
	// maxLog is how much disk space a log of a command may use before its beginning is given back; checked every trimInterval.
	maxLog       = 1 << 20
	trimInterval = 250 * time.Millisecond
)

// files are those of one command. Its standard streams are files and not pipes, so that a command that outlives its agent is not
// ended by a broken pipe.
type files struct {
	dir                   string
	output                string // the path in $REPLICANTE_OUTPUT
	stdin, stdout, stderr *os.File
	trimmed               map[*os.File][]byte // the end of what was removed from a log
}

// createFiles creates the files of an action's command. The command may become any user: that user may write to the output, whose
// name nobody else can find out, as the directory cannot be listed.
func createFiles(dataDir string, action wire.Action) (f *files, err error) {
	input, err := json.Marshal(action)
	if err != nil {
		return nil, fmt.Errorf("encode the action: %w", err)
	}
	// The data directory is closed to other users, and may be below one that is.
	dir, err := os.MkdirTemp("", filesPrefix+action.ID+"-")
	if err != nil && dataDir != "" {
		dir, err = os.MkdirTemp(dataDir, filesPrefix+action.ID+"-")
	}
	if err != nil {
		return nil, err
	}
	f = &files{dir: dir, output: filepath.Join(dir, uuid.NewString()+".json"), trimmed: map[*os.File][]byte{}}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	for name, into := range map[string]**os.File{"stdin": &f.stdin, "stdout": &f.stdout, "stderr": &f.stderr} {
		path := filepath.Join(dir, name)
		if *into, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600); err != nil {
			return nil, err
		}
		// A command may open /dev/stderr, whoever it has become.
		if err := errors.Join((*into).Chmod(0o666), os.Remove(path)); err != nil {
			return nil, err
		}
	}
	if _, err := f.stdin.Write(input); err != nil {
		return nil, err
	}
	if _, err := f.stdin.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if err := os.WriteFile(f.output, nil, 0o600); err != nil {
		return nil, err
	}
	return f, errors.Join(os.Chmod(f.output, 0o666), os.Chmod(dir, 0o711))
}

func (f *files) close() {
	for _, file := range []*os.File{f.stdin, f.stdout, f.stderr} {
		if file != nil {
			_ = file.Close()
		}
	}
	_ = os.RemoveAll(f.dir)
}

// removeFiles removes what an earlier process of the agent left of an action's files.
func removeFiles(dataDir, id string) {
	for _, dir := range []string{os.TempDir(), dataDir} {
		left, _ := filepath.Glob(filepath.Join(dir, filesPrefix+id+"-*"))
		for _, path := range left {
			_ = os.RemoveAll(path)
		}
	}
}

// trim gives the disk space of the logs back, but for their ends.
func (f *files) trim() {
	for _, file := range []*os.File{f.stdout, f.stderr} {
		var stat unix.Stat_t
		if unix.Fstat(int(file.Fd()), &stat) != nil || stat.Blocks*512 <= maxLog {
			continue
		}
		end := stat.Size - stat.Size%4096 - 2*wire.TailBytes
		if unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, end) != nil {
			f.trimmed[file] = lastBytes(file)
			_ = file.Truncate(0)
		}
	}
}

// tail is the end of a log.
func (f *files) tail(file *os.File) string {
	var t tail
	_, _ = t.Write(f.trimmed[file])
	last := lastBytes(file)
	if info, err := file.Stat(); err == nil && info.Size() > int64(len(last)) {
		t.cut = true
	}
	_, _ = t.Write(last)
	return t.String()
}

func lastBytes(file *os.File) []byte {
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	last := make([]byte, min(info.Size(), wire.TailBytes))
	n, _ := file.ReadAt(last, info.Size()-int64(len(last)))
	return last[:n]
}

// readOutput reads the JSON object that a command wrote, nil where it wrote none.
func readOutput(path string) (json.RawMessage, error) {
	const name = "$REPLICANTE_OUTPUT"
	// A command may have replaced the file: do not wait for a pipe, and follow no link.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	raw, err := io.ReadAll(io.LimitReader(file, wire.MaxPayload+1))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	if len(raw) > wire.MaxPayload {
		return nil, fmt.Errorf("%s contains more than %d bytes", name, wire.MaxPayload)
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return nil, fmt.Errorf("%s does not contain a JSON object", name)
	}
	if err := wire.CheckJSON(raw); err != nil {
		return nil, fmt.Errorf("%s contains a JSON object that cannot be stored: %w", name, err)
	}
	if err := jsonkeys.Check(raw); err != nil {
		return nil, fmt.Errorf("%s contains a JSON object that is not valid: %w", name, err)
	}
	return raw, nil
}
