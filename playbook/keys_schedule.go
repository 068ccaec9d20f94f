package playbook

import (
	"regexp"
	"time"

	"github.com/replicante-io/playbooks/internal/keys"
)

const (
	maxRevision  = 1 << 31
	maxClusterID = 253
	maxPatterns  = 100 // of clusters
	maxWindows   = 20
)

var (
	clusterID      = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	clusterPattern = regexp.MustCompile(`^[A-Za-z0-9._*?-]+$`)
)

var (
	dnsValue     = keys.Text{Most: maxName, Pattern: dnsLabel}
	windowsValue = keys.List{Of: windowKeys, Items: "windows", Most: maxWindows}
)

// nameAndLabels are the keys of the metadata of a document that has no more than them.
func nameAndLabels(example string) *keys.Mapping {
	return &keys.Mapping{Keys: []keys.Key{
		{Name: "name", Type: dnsValue, Required: "write name: " + example, About: "The name: lower-case letters, digits and -."},
		{Name: "labels", Type: labelsValue, About: "Labels, for people."},
	}}
}

var scheduleKeys = document(kindSchedule, "A playbook that is started at certain times.", "it says which playbook is started, where and when", scheduleMetadataKeys, scheduleSpecKeys)

var scheduleMetadataKeys = nameAndLabels("my-schedule")

var scheduleSpecKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "playbook", Type: dnsValue, Required: "it is the name of the playbook to start", About: "The name of the playbook to start."},
		{Name: "revision", Type: keys.Int{Least: 1, Most: maxRevision}, About: "The revision to start. Default: the latest at that time."},
		{Name: "cluster", Type: keys.Text{Most: maxClusterID, Pattern: clusterID}, Required: "it is the cluster on which the playbook is started", About: "The cluster on which it is started."},
		{Name: "params", Type: keys.Map{Of: keys.Any{}}, About: "Values of the playbook's params."},
		{Name: "where", Type: textValue, About: "An expression: only nodes for which it is true take part. Default: all."},
		{Name: "time_zone", Type: lineValue, Default: "UTC", About: "The time zone of cron, such as Europe/Rome."},
		{Name: "cron", Type: lineValue, Required: `it says when the playbook is started, such as cron: "0 2 * * *"`, About: "When it is started: minute, hour, day of the month, month, day of the week."},
		{Name: "start_within", Type: keys.Duration{Least: time.Second, Most: maxDuration}, Default: time.Hour, About: "How late it may be started, where it could not be started in time; after that it is skipped."},
		{Name: "if_running", Type: keys.Choice{"skip", "queue"}, Default: "skip", About: "What to do while its previous run has not ended: skip this one, or queue it."},
		{Name: "suspended", Type: keys.Bool{}, About: "Whether nothing is started. Default: as it was; a new schedule is not suspended."},
	},
}

var freezeKeys = document(kindFreeze, "A time in which no run starts and no batch opens in some clusters.", "it says which clusters are frozen, and when", freezeMetadataKeys, freezeSpecKeys)

var freezeMetadataKeys = nameAndLabels("my-freeze")

var freezeSpecKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "clusters", Type: keys.List{Of: keys.Text{Most: maxClusterID, Pattern: clusterPattern}, Items: "clusters", Most: maxPatterns},
			Required: `write which clusters it is for, such as ["orders*"]`, About: "The clusters, by name or pattern: * is any characters, ? is one."},
		{Name: "from", Type: keys.Time{}, About: "When it begins."},
		{Name: "to", Type: keys.Time{}, About: "When it ends."},
		{Name: "windows", Type: windowsValue, About: "When it holds again and again, instead of from and to."},
		{Name: "reason", Type: textValue, About: "Why, for people."},
	},
}

var windowKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "time_zone", Type: lineValue, Default: "UTC", About: "The time zone of cron, such as Europe/Rome."},
		{Name: "cron", Type: lineValue, Required: `it says when the window opens, such as cron: "0 22 * * *"`, About: "When the window opens: minute, hour, day of the month, month, day of the week."},
		{Name: "for", Type: keys.Duration{Least: time.Minute, Most: maxDuration}, Required: "it says how long the window is open, such as for: 6h", About: "How long it is open."},
	},
}
